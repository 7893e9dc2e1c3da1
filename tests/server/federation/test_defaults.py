"""Settings that follow from a cohort file: what is chosen is kept, what is made up is public."""

from __future__ import annotations

from pathlib import Path

import pytest
from practice_follow_up import label_of
from simulated_tables import CLASSES, NUMBER, write_cohort

from server.federation.compose import cohort_file, compose_settings
from server.federation.defaults import settings_for
from shared.contract.settings import Settings
from shared.errors import SettingsError
from shared.exam.schema import read_schema


def settings_of(path: Path, label: dict[str, object], *given: str) -> Settings:
    return compose_settings(given, cohort=write_cohort(path / "c.yaml", label))


@pytest.mark.parametrize(
    ("label", "task"), [(NUMBER, "regression"), (CLASSES, "classification"), (CLASSES, "regression")]
)
def test_a_task_that_is_named_is_filled_in_as_one_that_is_not(
    label: dict[str, object], task: str, tmp_path: Path
) -> None:
    if label is CLASSES and task == "regression":
        with pytest.raises(SettingsError, match="task regression needs another label") as caught:
            settings_of(tmp_path, label, f"task={task}")
        assert caught.value.code == "settings.task-and-label"
    else:
        assert settings_of(tmp_path, label, f"task={task}") == settings_of(tmp_path, label)


def test_a_number_is_standardised_by_the_range_of_its_label(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, NUMBER)
    task, asked = settings.task, settings.validation
    assert task.kind == "regression"
    assert (task.target_mean, task.target_sd, task.target_unit) == (3, 1.2, "l")
    assert (task.endpoint, task.endpoint_threshold, task.operating_point) == ("low capacity", 3, 3)
    assert (asked.target_low, asked.target_high) == (0, 6)
    assert (asked.score_low, asked.score_high) == (pytest.approx(1.2), pytest.approx(4.8))
    assert (settings.encoder.name, settings.fusion.name) == ("none", "clinical_only")


def test_a_public_reference_of_the_label_comes_before_its_range(tmp_path: Path) -> None:
    reference: dict[str, object] = {"reference_mean": 3.5, "reference_sd": 0.8}
    settings = settings_of(tmp_path, NUMBER | reference)
    task, asked = settings.task, settings.validation
    assert task.kind == "regression"
    assert (task.target_mean, task.target_sd, task.endpoint_threshold) == (3.5, 0.8, 3.5)
    assert (asked.target_low, asked.target_high) == (pytest.approx(1.34), pytest.approx(5.66))
    chosen = settings_of(tmp_path, NUMBER | reference, "task.target_sd=1").task
    assert chosen.kind == "regression"
    assert (chosen.target_mean, chosen.target_sd) == (3.5, 1)


def test_what_was_chosen_is_kept_and_what_follows_from_it_follows(tmp_path: Path) -> None:
    given = ("task.target_mean=4", "task.target_sd=0.5", "task.endpoint='weak lungs'")
    task = settings_of(tmp_path, NUMBER, *given).task
    assert task.kind == "regression"
    assert (task.target_mean, task.target_sd, task.endpoint_threshold) == (4, 0.5, 4)
    assert task.endpoint == "weak lungs"


@pytest.mark.parametrize("unit", ["kg/m2", "1", "it's", "%", "a=b, c"])
def test_a_unit_may_be_any_text(unit: str, tmp_path: Path) -> None:
    assert settings_of(tmp_path, NUMBER | {"unit": unit}).task.target_unit == unit


def test_the_last_class_is_the_endpoint_and_ordered_classes_have_their_head(tmp_path: Path) -> None:
    plain = settings_of(tmp_path, CLASSES)
    assert plain.task.kind == "classification"
    assert (plain.task.endpoint, plain.task.positive_class) == ("late", "late")
    assert plain.learner.kind == "gradient"
    assert plain.validation.score_high == 1
    ordered = settings_of(tmp_path, CLASSES | {"is_ordered": True})
    assert ordered.learner.kind == "proportional_odds"


def test_a_learner_of_tables_has_no_loss_and_an_experiment_is_left_alone(tmp_path: Path) -> None:
    assert settings_of(tmp_path, NUMBER, "learner=second_moments").learner.kind == "second_moments"
    schema = read_schema(write_cohort(tmp_path / "c.yaml", NUMBER))
    assert settings_for(schema, ["experiment=xattn_bmd"]) == []


def test_the_shipped_cohort_of_films_needs_nothing() -> None:
    assert settings_for(read_schema(cohort_file("hip_bmd")), []) == []


def test_a_cohort_without_clinical_fields_is_read_from_its_films_alone() -> None:
    schema = read_schema(cohort_file("mura_wrist"))
    assert "fusion=image_only" in settings_for(schema, [])
    assert not [word for word in settings_for(schema, ["fusion=linear"]) if word.startswith("fusion")]


def test_a_time_to_event_is_called_at_the_labels_public_risk(tmp_path: Path) -> None:
    label = label_of(reference_risk=0.3).model_dump(mode="json")
    settings = settings_of(tmp_path, label)
    task = settings.task
    assert task.kind == "survival"
    assert (task.endpoint, task.operating_point) == ("fracture", 0.3)
    assert settings.measures["survival"].measure.kind == "survival"
    with pytest.raises(SettingsError, match="task regression needs another label"):
        settings_of(tmp_path, label, "task=regression")
