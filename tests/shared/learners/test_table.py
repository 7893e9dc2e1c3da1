"""Every learner has a YAML, its own settings and nobody else's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import yaml
from practice_follow_up import FOLLOWED
from practice_tables import table_task

from shared.errors import SettingsError
from shared.learners.following import Following
from shared.learners.table import (
    LEARNERS,
    LearnerSettings,
    build_learner,
    describe_learner,
    read_learner,
    require_prediction,
    settle_learner,
)
from shared.privacy.accountant import gaussian_mu

FOLDER = Path(__file__).resolve().parents[3] / "configs" / "learner"


def shipped(kind: str) -> dict[str, object]:
    values: dict[str, object] = yaml.safe_load((FOLDER / f"{kind}.yaml").read_text())
    return values


# The learners that may be trained on the columns that a selection keeps.
FOLLOWING = [
    str(get_args(settings.model_fields["kind"].annotation)[0])
    for settings in get_args(get_args(Following)[0])
]
ASKED = {kind: shipped(kind) for kind in LEARNERS} | {
    f"selection then {kind}": {**shipped("selection"), "then": shipped(kind)} for kind in FOLLOWING
}
ASKED["clusters_mlp"] = shipped("clusters_mlp")


def settle(
    values: Mapping[str, object], *, epsilon: float | None, training: tuple[int, ...] = (100, 200)
) -> LearnerSettings:
    """As a plan over these sites settles it."""
    mu = None if epsilon is None else gaussian_mu(epsilon, 1e-5)
    task = table_task(70, n_classes=3, epsilon=epsilon)
    return settle_learner(read_learner(values), task, mu=mu, training=training)


def nulls(content: object, name: str = "learner") -> list[str]:
    """Where nothing stands."""
    if isinstance(content, dict | list | tuple):
        parts = content.items() if isinstance(content, dict) else enumerate(content)
        return [place for key, part in parts for place in nulls(part, f"{name}.{key}")]
    return [name] if content is None else []


def test_every_learner_has_one_yaml_and_others_are_choices_of_one() -> None:
    names = {path.stem for path in FOLDER.iterdir()} - {"gradient"}
    # lasso names the learner behind its choice by its default, and is composed with it
    assert names - set(LEARNERS) == {"clusters_mlp", "lasso", "representatives"}
    assert set(LEARNERS) <= names
    chosen = read_learner(shipped("clusters_mlp"))
    assert chosen.kind == "selection"
    assert build_learner(chosen, table_task(24, n_classes=3)).start().sums_done == 0


@pytest.mark.parametrize("kind", LEARNERS)
def test_a_yaml_names_its_learner_and_sets_everything(kind: str) -> None:
    settings = read_learner(shipped(kind))
    assert settings.kind == kind
    assert settings.model_fields_set == set(type(settings).model_fields)
    n_classes = 0 if kind == "second_moments" else 3
    task = table_task(24, n_classes=n_classes)
    if kind == "proportional_hazards":
        task = replace(task, n_classes=0, follow_up=FOLLOWED)
    assert build_learner(settings, task).start().sums_done == 0


@pytest.mark.parametrize("kind", sorted(set(LEARNERS) - {"proportional_hazards"}))
def test_a_learner_that_takes_every_label_as_known_is_refused_a_time_to_event(kind: str) -> None:
    task = replace(table_task(24), follow_up=FOLLOWED)
    with pytest.raises(SettingsError, match="use learner=proportional_hazards") as error:
        build_learner(read_learner(shipped(kind)), task)
    assert error.value.code == "settings.not-of-follow-up"


def test_a_setting_of_another_learner_is_refused_and_named() -> None:
    with pytest.raises(SettingsError, match="trees: is not a setting") as error:
        read_learner({**shipped("naive_bayes"), "trees": 10})
    assert error.value.code == "settings.invalid-learner"


def test_an_unknown_learner_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"forest.*not 'oracle'") as error:
        read_learner({"kind": "oracle"})
    assert error.value.code == "settings.unknown-learner"


def test_a_learner_that_privacy_forbids_is_refused_with_what_to_use_instead() -> None:
    with pytest.raises(SettingsError, match="hint: use learner=soft_neighbours") as error:
        read_learner({"kind": "knn", "neighbours": 5})
    assert error.value.code == "settings.stored-neighbours"


@pytest.mark.parametrize("kind", LEARNERS)
def test_every_learner_predicts_as_it_is_shipped(kind: str) -> None:
    require_prediction(read_learner(shipped(kind)))


def test_components_are_no_prediction() -> None:
    with pytest.raises(SettingsError) as error:
        require_prediction(read_learner({**shipped("second_moments"), "read_as": "components"}))
    assert error.value.code == "settings.predicts-nothing"


def test_what_yaml_leaves_open_is_found_at_any_depth() -> None:
    assert "lda" in FOLLOWING
    opened = read_learner(ASKED["selection then lda"])
    assert nulls(opened.model_dump()) == ["learner.then.reading"]
    assert nulls(read_learner(shipped("clusters_mlp")).model_dump()) == ["learner.by.noise"]


@pytest.mark.parametrize("epsilon", [None, 1.0, 8.0])
@pytest.mark.parametrize("values", ASKED.values(), ids=list(ASKED))
def test_a_plan_holds_no_open_value_of_a_learner(
    values: dict[str, object], epsilon: float | None
) -> None:
    settled = settle(values, epsilon=epsilon)
    assert settled.kind == values["kind"]
    assert nulls(settled.model_dump()) == []


def test_clusters_that_would_be_those_of_noise_are_not_paid_for_and_the_plan_says_so() -> None:
    values = shipped("clusters_mlp")
    told = {n: describe_learner(settle(values, epsilon=8.0, training=(n,) * 3)) for n in (262, 2620)}
    assert told[262].startswith("selection (columns kept by public sizes, at no price: the noise")
    assert told[2620] == "selection"
    shares = {
        n: build_learner(
            settle(values, epsilon=8.0, training=(n,) * 3), table_task(70, n_classes=3, epsilon=8.0)
        ).shares()
        for n in told
    }
    assert shares[262] == pytest.approx([1 / 20] * 20), "the network has all of the budget"
    assert shares[2620] == pytest.approx([0.25, *[0.75 / 20] * 20])
    settled = settle(values, epsilon=8.0, training=(262,) * 3)
    assert settle(settled.model_dump(), epsilon=8.0, training=(2620,) * 3) == settled, "it stays"
