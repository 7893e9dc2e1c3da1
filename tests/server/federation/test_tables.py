"""A plan's tables: whom they ask, and how many bins the expected noise leaves them."""

from __future__ import annotations

import pytest

from server.federation.compose import compose_settings
from server.federation.plan import resolve_stages
from server.federation.tables import Declared, table_noise
from shared.contract.stages import TableStage
from shared.exam.schema import SplitRule
from shared.measure.table.bins import EXACT_BINS, bins_for
from shared.measure.table.planned import patients_asked
from shared.measure.table.spec import row_norm

DECLARED: Declared = {"training": (1000, 4000, 5000), "external": (320,)}


def tables(declared: Declared = DECLARED, *overrides: str) -> dict[str, TableStage]:
    settings = compose_settings(list(overrides))
    stages = resolve_stages(settings, n_parameters=10, declared=declared)
    return {stage.name: stage for stage in stages if isinstance(stage, TableStage)}


@pytest.mark.parametrize(
    ("experiment", "weight"),
    [("xattn_bmd", 1.8), ("bmd_classes", 1.0), ("bmd_classes learner=naive_bayes", 1 / 3**0.5)],
)
def test_bins_left_open_are_the_best_for_all_tables_of_the_stage_together(
    experiment: str, weight: float
) -> None:
    found = tables(DECLARED, *f"experiment={experiment}".split())
    noise = table_noise(compose_settings(), 3.0)
    # three sites add noise of three tables; a fifth of their 10,000 patients is internal
    for name, n_sites, n_patients in (
        ("internal", 3, 2000),
        ("external", 1, 320),
        ("prospective", 4, 120),
    ):
        best = bins_for(
            noise_multiplier=noise * n_sites**0.5,
            sensitivity=row_norm(found[name].blocks),
            weight=weight,
            n_patients=n_patients,
        )
        assert found[name].bins == best, name
    assert found["internal"].bins >= found["external"].bins


def test_more_declared_patients_or_a_larger_epsilon_mean_more_bins() -> None:
    bins = tables()["internal"].bins
    assert tables({"training": (100_000,)})["internal"].bins > bins
    assert tables({"training": (100,)})["internal"].bins < bins
    assert tables(DECLARED, "validation.epsilon=30")["internal"].bins > bins
    assert tables(DECLARED, "validation.epsilon=1")["internal"].bins < bins


def test_bins_that_are_asked_for_stay_and_exact_releases_have_all() -> None:
    asked = tables(DECLARED, "validation.bins=12")
    assert {stage.bins for stage in asked.values()} == {12}
    governed = tables(DECLARED, "validation.release_class=governed")
    assert {stage.bins for stage in governed.values()} == {EXACT_BINS}


def test_a_stage_that_asks_nobody_can_still_be_planned() -> None:
    assert tables({"training": (100,)})["external"].bins >= 4


def test_whom_a_stage_asks_is_a_share_of_the_declared_or_the_minimum_that_it_waits_for() -> None:
    split = SplitRule(train=0.7, tune=0.1, internal=0.2)
    asked = [
        patients_asked(split, group, declared=50, minimum_patients=30)
        for group in ("train", "internal", "everybody", "accrued")
    ]
    assert asked == pytest.approx([35.0, 10.0, 50.0, 30.0])


def test_only_a_prospective_table_waits_for_patients() -> None:
    found = tables(DECLARED, "validation.prospective_patients=40")
    waited = {name: stage.minimum_patients for name, stage in found.items()}
    assert waited == {"internal": 1, "external": 1, "prospective": 40}


def test_one_score_grades_numbers_two_classes_and_ordered_ones_read_by_it() -> None:
    def blocks(*overrides: str) -> tuple[str, dict[str, float]]:
        stage = tables(DECLARED, *overrides)["internal"]
        return stage.ranking, stage.blocks.model_dump()

    none = {"moments": 0.0, "confusion": 0.0, "error": 0.0}
    assert blocks() == ("graded", none | {"ranking": 1.8, "moments": 1.0})
    ordered = none | {"ranking": 1.0, "confusion": 1.0, "error": 0.35}
    assert blocks("experiment=bmd_classes") == ("graded", ordered)
    assert blocks("experiment=bmd_classes", "learner=naive_bayes") == ("each", ordered)
    middle = ("task.positive_class=osteopenia", "task.endpoint=osteopenia")
    assert blocks("experiment=bmd_classes", *middle)[0] == "each", "the middle is no end of an order"


def test_weights_that_are_asked_for_stay_and_zero_leaves_a_block_out() -> None:
    asked = ("validation.blocks.ranking=2", "validation.blocks.moments=0")
    assert tables(DECLARED, *asked)["internal"].blocks.model_dump() == {
        "ranking": 2.0,
        "moments": 0.0,
        "confusion": 0.0,
        "error": 0.0,
    }
