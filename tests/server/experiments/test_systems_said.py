"""Sentences have three answers: told, told otherwise, not told; a mean that is told is said beside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from practice_experiments import CLAIM, FEW, SEEDS, TWO, keep_invented, without_claim

from server.experiments.outcome import Compared, Mean, Outcome, outcome_of
from server.experiments.system import Ablation
from server.experiments.systems_page import systems_page
from server.experiments.systems_said import GAINS, alone_sentence, gain_sentences, order_sentence


def outcome(folder: Path, **given: dict[str, float]) -> Outcome:
    errors = given.pop("errors", {"descent": 0.05, "ridge": 0.06})
    return outcome_of(TWO, FEW, SEEDS, keep_invented(folder, errors, system=TWO, **given))


def mean(value: float, margin: float) -> Mean:
    return Mean(value=value, low=value - margin, high=value + margin, by_seed=(value,))


def compared(kind: str, value: float, margin: float) -> Compared:
    return Compared(
        first="a", second="b", kind=kind, place="internal", figure="R²", mean=mean(value, margin)
    )


def test_an_order_that_differs_from_the_papers_is_said_with_its_places(tmp_path: Path) -> None:
    as_said = systems_page([TWO], [outcome(tmp_path / "a")])
    assert f"- descent above ridge in the paper ({CLAIM}): by R² told so in 6 of 6" in as_said
    turned = systems_page([TWO], [outcome(tmp_path / "b", errors={"descent": 0.08, "ridge": 0.05})])
    assert "told so in 0 of 6 comparisons, **told otherwise** in 6 (federated, internal −0." in turned
    assert "in the paper" not in systems_page([without_claim()], [outcome(tmp_path / "a")])


def test_an_order_whose_interval_holds_nought_is_not_told_and_pooled_models_are_no_second_voice() -> (
    None
):
    ablation = Ablation(first="a", second="b", claim="said")
    rows = [
        compared("federated", -0.1, 0.2),
        compared("federated, no privacy", -0.1, 0.05),
        compared("pooled, no privacy", -0.1, 0.05),
        compared("alone", 0.1, 0.05),
    ]
    assert order_sentence(ablation, rows, "R²") == (
        "- a above b in the paper (said): by R² told so in 1 of 3 comparisons, **told otherwise** in 1 "
        "(federated, no privacy, internal −0.100 (−0.150 to −0.050)), not told in 1."
    )
    assert order_sentence(Ablation(first="a", second="b"), rows, "R²") == ""


def alone(name: str, value: float, margin: float, p: float) -> Compared:
    return Compared(
        first="federated",
        second=f"alone: {name}",
        kind="",
        place="prospective",
        figure="R²",
        mean=mean(value, margin),
        p_adjusted=p,
    )


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (alone("aster", 0.1, 0.05, 0.01), "told above aster alone"),
        (alone("aster", 0.1, 0.05, 0.9), "told above no hospital alone; not told from aster alone"),
        (alone("aster", 0.1, 0.2, 0.9), "told above no hospital alone; not told from aster alone"),
        (alone("aster", -0.1, 0.05, 0.9), "told above no hospital alone; **below aster alone**"),
    ],
)
def test_a_hospital_alone_is_below_equal_or_above(tmp_path: Path, row: Compared, said: str) -> None:
    found = outcome(tmp_path).model_copy(update={"compared": (row,)})
    [sentence] = alone_sentence(TWO, found)
    assert f"each hospital alone under the same ε, the federation is {said} (" in sentence
    assert alone_sentence(replace(TWO, figures=("AUC",)), found) == []


def test_the_mean_of_hospitals_speaks_where_no_single_one_can() -> None:
    words = next(iter(GAINS.values()))
    lines = gain_sentences("R²", words, {"aster": mean(-0.05, 0.06), "birch": mean(-0.05, 0.06)})
    assert lines[1].endswith("by R²: aster, birch.")
    assert lines[2].endswith("by R²: the mean of all hospitals.")
