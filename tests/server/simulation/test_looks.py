"""Where an arm looks, exactly: as its own readings of the same patients say, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from practice_learners import SITES
from practice_patients import GRID, practice_patients, practice_settings
from practice_plan import plan_of

from server.simulation import looks
from server.simulation.arms import Trained
from server.simulation.comparison import Figure
from server.simulation.looks import LOOKS, compare_looks, look_at, measure_looks
from shared.contract.decision import decision_of
from shared.measures.bone import DELTA, DIFFERENCES
from shared.measures.maps import AGREEMENTS
from shared.stages.explained import NO_MASK, ExplainedPatients, score_maps
from shared.stages.scores import scorer_of

RULE = decision_of(practice_settings("linear"))


def explained(n: int = 160) -> ExplainedPatients:
    """Patients of whom every fifth film has no mask; hidden films are other films."""
    own = practice_patients(n, seed=4)
    own.target.sub_(1.2)  # half of them are ill
    draw = torch.Generator().manual_seed(5)
    hidden = tuple(
        replace(own, tokens=own.tokens + size * torch.randn(own.tokens.shape, generator=draw))
        for size in (6.0, 3.0)
    )
    bone = torch.rand(*own.film_exam.shape, GRID * GRID, generator=draw)
    has_mask = torch.rand(own.film_exam.shape, generator=draw) < 0.8
    return ExplainedPatients(own, hidden, torch.where(has_mask[..., None], bone, NO_MASK))


@pytest.fixture(autouse=True)
def _no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    # tokens are given; nothing is encoded
    monkeypatch.setattr(looks, "encoder_file", lambda _: None)


@pytest.fixture(scope="module")
def trained() -> Trained:
    plan = plan_of(practice_settings("linear"), SITES)
    start = scorer_of(plan, plan.trained, None).start().vector
    return Trained(start + np.random.default_rng(0).normal(0, 0.3, len(start)).astype("f4"), plan)


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {each.figure: each for each in figures}


def auc(score: np.ndarray, is_ill: np.ndarray) -> float:
    """By all pairs."""
    above = score[is_ill][:, None] - score[~is_ill][None, :]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def test_differences_are_of_the_assessed_and_of_the_readings_that_they_name(trained: Trained) -> None:
    patients = explained()
    found = by_name(measure_looks(look_at(trained, patients), RULE, place="outside", arm="probe"))
    assert list(found) == list(LOOKS)
    assert {(each.place, each.arm) for each in found.values()} == {("outside", "probe")}
    held = patients.labelled()
    rows = held.is_assessed().nonzero()[:, 0]
    assert 10 < len(rows) < len(held.own)
    scorer = scorer_of(trained.plan, trained.plan.trained, None)
    readings = [
        scorer.score(trained.weights, batch.select(rows)).earliest()
        for batch in (held.own, *held.hidden)
    ]
    is_ill = RULE.is_positive(readings[0].label)
    # a low BMD is suspicious
    aucs = [auc(-RULE.score(each.outputs), is_ill) for each in readings]
    assert len(set(aucs)) == 3
    for name, (first, second) in DIFFERENCES.items():
        each = found[name]
        assert each.value == pytest.approx(aucs[first] - aucs[second], abs=1e-9)
        assert each.low is not None
        assert each.high is not None
        assert each.low < each.value < each.high
    assert found[DELTA].value == pytest.approx(
        found["AUC, Δ bone"].value - found["AUC, Δ random"].value, abs=1e-9
    )


def test_agreements_are_means_over_the_assessed(trained: Trained) -> None:
    patients = explained()
    found = by_name(measure_looks(look_at(trained, patients), RULE, place="outside", arm="probe"))
    scorer = scorer_of(trained.plan, trained.plan.trained, None)
    scored = score_maps(scorer, trained.weights, patients, RULE).earliest()
    values = scored.maps[scored.is_assessed]
    for column, name in enumerate(AGREEMENTS):
        assert found[name].value == pytest.approx(values[:, column].mean())
        margin = 1.959964 * values[:, column].std(ddof=1) / np.sqrt(len(values))
        assert found[name].high == pytest.approx(values[:, column].mean() + margin)


def test_without_a_mask_nothing_is_told(trained: Trained) -> None:
    patients = explained(20)
    without = replace(patients, bone=torch.full_like(patients.bone, NO_MASK))
    figures = measure_looks(look_at(trained, without), RULE, place="outside", arm="probe")
    assert [each.figure for each in figures] == list(LOOKS)
    assert all(each.value is None and each.low is None for each in figures)


def test_one_look_less_another_is_paired_on_each_patient(trained: Trained) -> None:
    patients = explained()
    first = look_at(trained, patients)
    draw = np.random.default_rng(3)
    # almost the same look of the same people
    second = replace(
        first,
        replaced=first.replaced + 1e-3 * draw.normal(size=first.replaced.shape),
        maps=first.maps + 1e-3 * draw.normal(size=first.maps.shape) - 0.05,
    )
    told = [by_name(measure_looks(each, RULE, place="in", arm="")) for each in (first, second)]
    found = by_name(compare_looks(first, second, RULE, place="in", arm=""))
    for name in LOOKS:
        expected = told[0][name].value - told[1][name].value
        assert found[name].value == pytest.approx(expected, abs=1e-9)
        assert found[name].high - found[name].low < 0.5 * (told[0][name].high - told[0][name].low)
    assert found[LOOKS[3]].low > 0.04
    alike = by_name(compare_looks(first, first, RULE, place="in", arm=""))
    assert {(each.value, each.low, each.high) for each in alike.values()} == {(0.0, 0.0, 0.0)}


def test_a_patient_who_is_assessed_in_one_look_only_is_in_no_difference(trained: Trained) -> None:
    first = look_at(trained, explained())
    rows = np.flatnonzero(first.is_assessed)
    without = first.is_assessed.copy()
    without[rows[0]] = False
    second = replace(first, maps=first.maps + np.eye(1, len(first), rows[0]).T)
    found = by_name(
        compare_looks(replace(first, is_assessed=without), second, RULE, place="in", arm="")
    )
    assert found[LOOKS[3]].value == 0.0


def test_a_model_whose_films_have_no_places_has_rankings_and_no_maps(trained: Trained) -> None:
    looked = replace(look_at(trained, explained()), maps=np.zeros((160, 0)))
    found = by_name(measure_looks(looked, RULE, place="in", arm=""))
    assert all(found[name].value is not None for name in DIFFERENCES)
    assert all(found[name].value is None for name in AGREEMENTS)
