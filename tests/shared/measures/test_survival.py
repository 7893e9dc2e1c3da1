"""Figures of a time to event against cells counted by hand, exact pairs and planted risks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from practice_follow_up import ALONE, FOLLOWED, follow, label_of, scored, task_of

from server.federation.compose import compose_settings
from shared.errors import PolicyError, SettingsError
from shared.exam.time_to_event import TimeToEventLabel
from shared.measure.exact.concordance import concordance
from shared.measures.survival import Survival, SurvivalSettings
from shared.stages.measure import measure_task
from shared.sums.estimate import TOO_NOISY


def make(label: TimeToEventLabel, **changes: object) -> Survival:
    settings = SurvivalSettings.model_validate({"kind": "survival", **changes})
    return Survival.build(settings, task_of(label))


def test_a_row_has_the_patient_in_one_cell_and_the_risk_in_the_last() -> None:
    measure = make(label_of(edges=[1, 2], reference_risk=0.2), bins=4)
    [row] = measure.rows_of(scored(follow(1, seed=0), measure.label, np.array([0.2001])))
    assert row[:-1].sum() == 1.0
    assert row[-1] == pytest.approx(0.5 * 0.2001)
    assert np.flatnonzero(row[:-1])[0] % 4 == 2, "the middle edge is the public risk"


def test_figures_of_two_intervals_are_those_worked_out_by_hand() -> None:
    label = label_of(edges=[1, 2])
    measure = make(label, bins=4)
    cells = np.zeros((7, 4))
    cells[0] = [0, 0, 10, 20]  # a fracture in the first year
    cells[1] = [0, 10, 10, 0]  # in the second
    cells[2] = [5, 5, 0, 0]  # death in the first
    cells[5] = [10, 0, 0, 10]  # free for one year, then lost
    cells[6] = [40, 20, 20, 0]
    # Aalen–Johansen: 160 at risk, 30 + 10 end; then 100, of whom 20 break
    assert measure.risk_that_came(cells.sum(axis=1)) == pytest.approx(30 / 160 + 120 / 160 * 20 / 100)
    # of the first year's 30: others by bin 55, 35, 30, 10; of the second's 20: others 45, 25, 20, 0
    wins = 10 * (90 + 15) + 20 * (120 + 5) + 10 * (45 + 12.5) + 10 * (70 + 10)
    assert measure.concordance(cells) == pytest.approx(wins / (30 * 130 + 20 * 90))
    total = np.append(cells.ravel(), 0.5 * 40.0)
    found = measure.read(total, sd=0.0, minimum_cell=10, n_expected=160)
    assert found["expected risk"].value == pytest.approx(40 / 160)
    assert found["observed − expected risk"].value == pytest.approx(30 / 160 + 0.15 - 0.25)
    counts = {name: each.value for name, each in found.items() if name.startswith("n, ")}
    assert counts == {
        "n, fracture": 50.0,
        "n, death": 10.0,
        "n, left before 2 years": 20.0,
        "n, free for 2 years": 80.0,
    }


@pytest.mark.parametrize("label", [ALONE, FOLLOWED])
def test_bins_take_little_from_the_exact_concordance(label: TimeToEventLabel) -> None:
    followed = follow(4000, seed=1, competing=0.0 if label is ALONE else 0.05)
    measure = make(label)
    cells = measure.rows_of(scored(followed, label)).sum(axis=0)[:-1]
    binned = measure.concordance(cells.reshape(len(label.classes), -1))
    [exact], _ = concordance(followed.risk[None], followed.places(label), label)
    assert -0.02 < binned - exact < 0.0, "ties of a bin pull towards one half"


def test_the_risk_that_came_is_the_one_that_was_planted_although_many_leave_early() -> None:
    for label, competing in ((ALONE, 0.0), (FOLLOWED, 0.05)):
        followed = follow(20_000, seed=3, competing=competing)
        cells = make(label).rows_of(scored(followed, label)).sum(axis=0)[:-1]
        came = make(label).risk_that_came(cells.reshape(len(label.classes), -1).sum(axis=1))
        assert came == pytest.approx(followed.risk.mean(), abs=0.01)


DRAWS = 200
# how often intervals of .95 must hold the truth, at three standard errors below
LEAST = 0.95 - 3 * (0.95 * 0.05 / DRAWS) ** 0.5


@pytest.mark.parametrize("sd", [0.0, 1.5])
def test_intervals_hold_the_truth_about_as_often_as_they_say(sd: float) -> None:
    measure, draw = make(FOLLOWED), np.random.default_rng(11)
    q = len(FOLLOWED.classes)
    many = follow(50_000, seed=99)
    whole = measure.rows_of(scored(many, FOLLOWED)).sum(axis=0)[:-1].reshape(q, -1)
    truth = {
        "C-index": measure.concordance(whole),
        "observed risk": float(many.risk.mean()),
        "expected risk": float(many.risk.mean()),
        "observed − expected risk": 0.0,
    }
    held = dict.fromkeys(truth, 0)
    for seed in range(DRAWS):
        total = measure.rows_of(scored(follow(600, seed=1000 + seed), FOLLOWED)).sum(axis=0)
        noisy = total + sd * draw.standard_normal(total.size)
        found = measure._figures(noisy, sd=sd, minimum_cell=0)
        held = {
            name: held[name] + (found[name].low <= value <= found[name].high)
            for name, value in truth.items()
        }
    for name, count in held.items():
        assert count / DRAWS >= LEAST, name


def test_what_noise_may_swallow_is_not_shown_whatever_came_out() -> None:
    measure = make(FOLLOWED)
    found = measure.read(measure.expected(5000), sd=1.5, minimum_cell=10, n_expected=60)
    assert found["C-index"] == TOO_NOISY
    shown = measure.read(measure.expected(5000), sd=1.5, minimum_cell=10, n_expected=5000)
    assert shown["C-index"].value is not None
    assert shown["observed risk"].value is not None


def test_an_exact_total_leaves_with_no_small_cell_and_nobody_is_lost() -> None:
    measure = make(FOLLOWED)
    total = measure.rows_of(scored(follow(900, seed=7), FOLLOWED)).sum(axis=0)
    left = measure.suppress(total, 10)
    assert left.sum() == pytest.approx(total.sum())
    assert (left[:-1][left[:-1] > 0] >= 10).all()
    b = measure.settings.bins
    for end in (slice(0, 5 * b), slice(5 * b, 10 * b), slice(10 * b, 16 * b)):
        assert left[end].sum() == total[end].sum(), "a way of ending stays what it was"


def test_an_exact_total_with_a_handful_of_events_does_not_leave() -> None:
    measure = make(FOLLOWED)
    total = measure.rows_of(scored(follow(30, seed=8), FOLLOWED)).sum(axis=0)
    with pytest.raises(PolicyError) as refused:
        measure.suppress(total, 10)
    assert refused.value.code == "policy.cell-too-small"


def test_classes_have_no_follow_up() -> None:
    classes = compose_settings(["experiment=bmd_classes"])
    with pytest.raises(SettingsError) as refused:
        Survival.build(SurvivalSettings(kind="survival"), measure_task(classes))
    assert refused.value.code == "settings.needs-follow-up"


REFERENCE = json.loads(
    (Path(__file__).resolve().parents[2] / "practice" / "references" / "survival.json").read_text()
)


@pytest.mark.parametrize(
    ("label", "answer", "within"),
    [
        (label_of(competing=[], censored=["alive", "death"]), "kaplan_meier", 1e-12),
        # of exact times, where ours are cut into years
        (FOLLOWED, "aalen_johansen_of_exact_times", 0.01),
    ],
)
def test_the_risk_that_came_is_the_one_that_lifelines_finds(
    label: TimeToEventLabel, answer: str, within: float
) -> None:
    data = REFERENCE["data"]
    names = [str(label.class_of(*pair)) for pair in zip(data["years"], data["status"], strict=True)]
    margins = np.array([float(names.count(name)) for name in label.classes])
    came = make(label).risk_that_came(margins)
    assert came == pytest.approx(REFERENCE["answers"][answer], abs=within)
