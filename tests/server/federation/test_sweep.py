"""A sweep is priced as a whole: n arms of μ/√n, and never more than one run of its settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.federation.compose import CONFIGS
from server.federation.folder import Enrolled, create_home
from server.federation.own_options import SWEEPS
from server.federation.sweep import (
    SweepFile,
    compose_arms,
    divided,
    draft_sweep,
    lay_out,
    planned_sweep,
    read_sweep_file,
    save_sweep,
    share_of,
    sweep_folder,
)
from shared.contract.plan import read_plan, write_plan
from shared.contract.sweep import SignedSweep
from shared.errors import PlanError, SettingsError
from shared.privacy.accountant import gaussian_epsilon, gaussian_mu
from shared.privacy.statement_text import write_epsilon
from shared.privacy.sweep_text import arm_rows, paid_rows

DELTA = 1e-5
TABLE = ("cohort=hip_table", "encoder=none", "fusion=clinical_only", "task=bmd_classes")
ARMS = {"odds": (), "bayes": ("learner=naive_bayes",), "logistic": ("learner=logistic",)}
PACKED = ("encoder.weights=packed.safetensors", f"encoder.sha256={'0' * 64}")


def sites() -> list[Enrolled]:
    return [
        Enrolled(site=name, public_key=key * 64, declared_patients=n, role=role, enrolled_utc="2026")
        for name, key, n, role in (("ash", "a", 200, "training"), ("hop", "b", 90, "external"))
    ]


def drafted(
    *overrides: str, arms: dict[str, tuple[str, ...]] | None = None, key: str = "d" * 64
) -> SignedSweep:
    asked = SweepFile(settings=TABLE, arms=arms or ARMS)
    return draft_sweep(
        compose_arms(asked, overrides),
        sites(),
        name="trial",
        coordinator_key=key,
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(("epsilon", "n"), [(1.0, 2), (3.0, 12), (8.0, 5)])
def test_equal_arms_compose_to_the_whole_and_get_more_than_an_equal_part(
    epsilon: float, n: int
) -> None:
    share = share_of(epsilon, n, delta=DELTA)
    assert share > epsilon / n
    together = gaussian_epsilon(math.sqrt(n) * gaussian_mu(share, DELTA), DELTA)
    assert together == pytest.approx(epsilon, abs=1e-6)


def test_twelve_arms_under_an_epsilon_of_3_get_three_quarters_each() -> None:
    assert share_of(3.0, 12, delta=DELTA) == pytest.approx(0.756, abs=5e-4)


def test_every_group_of_patients_pays_for_all_arms_what_one_run_would_cost() -> None:
    signed = drafted("privacy.epsilon=2", "validation.epsilon=3")
    paid = {(split.role, split.patients): split.epsilon for split in signed.sweep.predicted.splits}
    for group, most in (
        (("training", "train"), 2.0),
        (("training", "internal"), 3.0),
        (("external", "everybody"), 3.0),
    ):
        # noise is rounded up to a grid
        assert most - 0.05 < (paid[group] or 0.0) <= most
    each = [plan.predicted.training_epsilon for plan in signed.plans]
    assert each == pytest.approx([share_of(2.0, 3, delta=DELTA)] * 3, abs=0.01)
    rows = {row[:2]: row[-2:] for row in paid_rows(signed)}
    dearest = max(epsilon or 0.0 for epsilon in each)
    together = paid["training", "train"]
    assert rows["training", "train"] == (write_epsilon(dearest), write_epsilon(together))
    assert [plan.run for plan in signed.plans] == ["trial-odds", "trial-bayes", "trial-logistic"]


def test_sampled_arms_cost_together_no_more_than_was_promised() -> None:
    asked = ("learner=gradient", "fusion=clinical_only", "federation.rounds=10")
    arms = {
        "sampled": (*asked, "privacy.sample_rate=0.2"),
        "rarer": (*asked, "privacy.sample_rate=0.1"),
    }
    signed = drafted("privacy.epsilon=2", arms=arms)
    assert 1.8 < (signed.sweep.predicted.training_epsilon or 0.0) <= 2.0
    assert [row[3] for row in arm_rows(signed)] == ["clinical_only"] * 2
    assert "each patient in a step with chance 0.1" in signed.sweep.predicted.mechanism


def test_further_measures_and_descriptions_are_divided_too() -> None:
    [arm] = compose_arms(
        SweepFile(settings=TABLE, arms={"one": (), "two": ()}),
        ["measure=errors", "validation.description_epsilon=1"],
    )[:1]
    [(name, whole)] = arm.settings.measures.items()
    settings = divided(arm.settings, 4)
    assert settings.measures[name].epsilon == share_of(whole.epsilon, 4, delta=DELTA)
    assert settings.validation.description_epsilon == share_of(1.0, 4, delta=DELTA)


def test_an_arms_own_settings_come_last() -> None:
    asked = SweepFile(settings=(*TABLE, "seed=1"), arms={"own": ("seed=3",), "other": ()})
    assert [arm.settings.seed for arm in compose_arms(asked, ["seed=2"])] == [3, 2]


def test_a_noise_multiplier_is_refused_since_no_epsilon_would_divide_it() -> None:
    with pytest.raises(SettingsError, match="for arm odds") as caught:
        drafted("privacy.noise_multiplier=4", "learner=gradient", arms={"odds": (), "other": ()})
    assert caught.value.code == "settings.sweep-noise"


def test_arms_of_other_patients_are_no_sweep() -> None:
    other = {"odds": (), "strict": ("task.operating_point=0.4",)}
    with pytest.raises(PlanError, match=r"settings\.task") as caught:
        drafted(arms=other)
    assert caught.value.code == "plan.arms-differ"


def test_a_sweep_is_written_once_and_its_plans_are_ordinary_ones(tmp_path: Path) -> None:
    home = create_home(tmp_path)
    signed = drafted(key=home.key().public_hex)
    path = save_sweep(home, signed)
    assert path == sweep_folder(home, "trial") / "sweep.json"
    assert planned_sweep(home, "trial") == signed
    for plan in signed.plans:
        assert read_plan(home.run_folder(plan.run) / "plan.json") == plan
    with pytest.raises(PlanError) as caught:
        save_sweep(home, signed)
    assert caught.value.code == "plan.sweep-exists"
    with pytest.raises(PlanError) as caught:
        planned_sweep(home, "other")
    assert caught.value.code == "plan.no-sweep"


def test_a_name_that_a_run_has_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    home = create_home(tmp_path)
    signed = drafted(key=home.key().public_hex)
    write_plan(home.run_folder("trial-bayes") / "plan.json", signed.plans[0], home.key())
    with pytest.raises(PlanError, match="trial-bayes"):
        save_sweep(home, signed)
    assert not sweep_folder(home, "trial").exists()


def test_plans_lost_while_a_sweep_was_written_are_laid_out_again_and_others_refused(
    tmp_path: Path,
) -> None:
    home = create_home(tmp_path)
    signed = drafted(key=home.key().public_hex)
    save_sweep(home, signed)
    lost = home.run_folder("trial-logistic") / "plan.json"
    lost.unlink()
    lay_out(home, signed)
    assert read_plan(lost) == signed.plans[2]
    write_plan(lost, signed.plans[0], home.key())
    with pytest.raises(PlanError) as caught:
        lay_out(home, signed)
    assert caught.value.code == "plan.not-of-sweep"


SHIPPED = sorted(path.stem for path in (CONFIGS / SWEEPS).glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_sweep_composes_where_its_weights_are_at_hand(name: str) -> None:
    asked = read_sweep_file(name)
    packed: Sequence[str] = () if name.endswith("_small") else PACKED
    arms = {arm: (*words, *packed) for arm, words in asked.arms.items()}
    composed = compose_arms(asked.model_copy(update={"arms": arms}))
    assert [arm.name for arm in composed] == list(asked.arms)
    assert len({arm.settings.model_dump_json() for arm in composed if not packed}) in (0, len(arms))
    for arm in composed:
        is_frozen = arm.settings.encoder.training == "frozen"
        assert (arm.settings.privacy.sample_rate < 1) == (not is_frozen)
        assert arm.name.endswith("-probe") == is_frozen


def test_the_declared_sweep_has_twelve_arms_of_six_networks() -> None:
    arms = read_sweep_file("fm_cxr").arms
    assert len(arms) == 12
    assert len({name.removesuffix("-probe") for name in arms if name.endswith("-probe")}) == 6


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (None, "settings.no-sweep-file"),
        ("arms: {one: []}\n", "settings.invalid-sweep"),
        ("arms: {one: [], Two: []}\n", "settings.invalid-sweep"),
        ("arms: {one: [], two: []}\nepsilon: 3\n", "settings.invalid-sweep"),
    ],
)
def test_a_file_that_is_no_sweep_is_refused(tmp_path: Path, text: str | None, code: str) -> None:
    path = tmp_path / "my.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_sweep_file(path)
    assert caught.value.code == code
