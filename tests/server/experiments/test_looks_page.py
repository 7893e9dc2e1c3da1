"""What the page says of where models look: what was expected, and whether it was so."""

from __future__ import annotations

import pytest
from practice_experiments import looked_outcome, looks

from server.experiments.looks_page import apart, looks_section, shortcut_section
from server.experiments.looks_plot import mean_of
from server.experiments.outcome import Outcome
from server.simulation.looks import IOU, LOOKS

BONE, *_ = LOOKS
ALONE, TOGETHER = "alone: larch", "federated"
OUTSIDE = {"auc": 0.60, "delta": 0.1, "iou": 0.0}


def leaking(*, gained: float = 0.2, **inside: float) -> Outcome:
    figures = {"auc": 0.95, "delta": 0.0, "iou": 0.005} | inside
    return looked_outcome(
        "leaking",
        looks(ALONE, "larch", **figures) | looks(ALONE, "external", **OUTSIDE),
        looks(ALONE, "larch", auc=gained, delta=-0.12, iou=-0.085)
        | looks(ALONE, "external", auc=-0.14, delta=-0.01, iou=-0.08),
    )


CLEAN = looked_outcome(
    "clean",
    looks(ALONE, "larch", auc=0.75, delta=0.12, iou=0.09)
    | looks(ALONE, "external", auc=0.74, delta=0.11, iou=0.08),
)


def test_a_shortcut_is_told_where_all_four_parts_are_seen() -> None:
    text = "\n".join(shortcut_section(leaking(), CLEAN))
    assert "All four are seen in 1 of 1 models: probe, alone: larch." in text
    assert (
        "| probe | alone: larch | so it is: 0.200 (0.160 to 0.240) | so it is: 0.350 (0.293 to 0.407) "
        "| so it is: 0.000 (−0.040 to 0.040) | so it is: 0.005 (−0.035 to 0.045) | so it is |"
    ) in text
    assert "| marker leaks | probe | alone: larch | larch | 0.950 (0.910 to 0.990) |" in text
    assert "| clean | probe | alone: larch | external | 0.740 (0.700 to 0.780) |" in text


def test_what_the_marker_changes_is_told_by_pairs_and_the_fall_by_both_places() -> None:
    text = "\n".join(shortcut_section(leaking(), CLEAN))
    changes = (
        "| probe | alone: larch | 0.200 (0.160 to 0.240) | −0.140 (−0.180 to −0.100) "
        "| −0.120 (−0.160 to −0.080) | −0.085 (−0.125 to −0.045) | 0.340 (0.283 to 0.397) |"
    )
    assert changes in text


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ({"gained": 0.01}, "| probe | alone: larch | **not told**: 0.010"),
        ({"gained": -0.14}, "| probe | alone: larch | **not so here**: −0.140"),
        ({"auc": 0.61}, "| **not told**: 0.010"),
        ({"auc": 0.5}, "| **not so here**: −0.100"),
        ({"delta": 0.2}, "| **not so here**: 0.200"),
        ({"delta": 0.03}, "| **not told**: 0.030"),
        ({"iou": -0.1}, "| **not so here**: −0.100"),
    ],
)
def test_a_part_that_is_not_seen_is_said_and_the_picture_is_not_whole(
    inside: dict[str, float], expected: str
) -> None:
    text = "\n".join(shortcut_section(leaking(**inside), CLEAN))
    assert expected in text
    assert "All four are seen in 0 of 1 models." in text
    assert text.count("so it is") == 3


def test_bone_that_is_worth_less_than_what_else_is_hidden_speaks_for_the_shortcut() -> None:
    # what else is hidden covers the marker
    text = "\n".join(shortcut_section(leaking(delta=-0.2), CLEAN))
    assert "| so it is: −0.200 (−0.240 to −0.160) |" in text
    assert "All four are seen in 1 of 1 models" in text


def test_a_part_that_nothing_measures_is_not_assessed() -> None:
    rows = tuple(
        row.model_copy(update={"mean": None}) if row.figure == IOU else row for row in leaking().rows
    )
    text = "\n".join(shortcut_section(leaking().model_copy(update={"rows": rows}), CLEAN))
    assert "| not assessed | no |" in text
    assert "All four are seen in 0 of 1 models." in text


def test_without_the_clean_outcome_nothing_is_compared() -> None:
    lines = shortcut_section(leaking(), None)
    assert len(lines) == 4
    assert "clean" not in "".join(lines)
    unpaired = leaking().model_copy(update={"against_clean": ()})
    lines = shortcut_section(unpaired, CLEAN)
    assert lines[-1].startswith("The parts of the picture are not told yet")
    assert "All four" not in "".join(lines)


def test_where_nobody_was_asked_where_it_looks_there_is_no_section() -> None:
    assert looks_section(looked_outcome("plain", {("probe", TOGETHER, "external", "AUC"): 0.8})) == []
    lines = looks_section(CLEAN)
    assert "| probe | alone: larch | larch | 0.750 (0.710 to 0.790) |" in "\n".join(lines)
    # hiding bone costs nothing that is told: hiding as much else gains
    assert lines[-1].endswith("in 0 of 2 lines: **no arm is seen to use bone here**.")
    used = looks("federated", "external", auc=0.7, delta=0.1, iou=0.0) | {
        ("probe", "federated", "external", BONE): 0.09
    }
    uses_bone = "are both told above 0 in 1 of 1 lines: probe."
    assert looks_section(looked_outcome("sees", used))[-1].endswith(uses_bone)
    blind = looked_outcome("blind", looks(ALONE, "external", auc=0.7, delta=0.0, iou=0.0))
    assert looks_section(blind)[-1].endswith("in 0 of 1 lines: **no arm is seen to use bone here**.")


def test_errors_of_different_patients_are_added() -> None:
    first, second = (
        mean_of(CLEAN.rows, arm="probe", training=ALONE, place=place, figure="AUC")
        for place in ("larch", "external")
    )
    found = apart(first, second)
    assert found is not None
    assert found.value == pytest.approx(0.01)
    assert found.high - found.value == pytest.approx(0.04 * 2**0.5)
    assert found.by_seed == pytest.approx((0.01,))
    assert apart(first, None) is None
