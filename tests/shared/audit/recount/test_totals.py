"""The noise in released totals, read from a run folder alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from handed_over import HandedOver, play_run
from planted import planted

from shared.audit.finding import Finding
from shared.audit.recount.evidence import SiteEvidence
from shared.audit.recount.recounted import RecountedLedger
from shared.audit.recount.run_files import HeldReplies
from shared.audit.recount.totals import FRESH, HOLDS, recount_totals
from shared.contract.plan import Plan
from shared.stages.stage_sum import PromisedNoise

M, ROUNDS, SD = 2000, 5, 0.5
DRAW = np.random.default_rng(11)
Totals = Callable[[int], np.ndarray]


def judged(handed: HandedOver, evidence: SiteEvidence) -> dict[str, Finding]:
    ledger = RecountedLedger(handed.plan, evidence.site, tuple(handed.rows(evidence.site)))
    return {each.claim: each for each in recount_totals(ledger, evidence)}


class AskedOfMany:
    """A sum of two thousand numbers in two tensors, as of a model of films."""

    def __init__(self, *, norm_max: float | None = None, spacing: float = 0.0) -> None:
        self._norm_max, self._spacing = norm_max, spacing

    def bound(self, _: int) -> SimpleNamespace:
        return SimpleNamespace(length=M, norm_max=self._norm_max)

    def promised(self, _: int, *, declared_patients: int) -> PromisedNoise:
        assert declared_patients == 100
        parts = {"first": slice(0, 1200), "second": slice(1200, M)}
        return PromisedNoise(row=1.0, sd=SD, fresh_sd=SD, spacing=self._spacing, parts=parts)


def run_of(
    handed: HandedOver, own: Totals, theirs: Totals | None = None, asked: AskedOfMany | None = None
) -> dict[str, Finding]:
    """Findings about ``elm`` where the sites' totals of each round are what two functions give."""
    evidence = handed.evidence()
    plan = evidence_plan(handed)
    held = {}
    for site, total in (("elm", own), ("fir", theirs or fresh)):
        replies = {
            ("train", number): SimpleNamespace(status="measured", total=total(number))
            for number in range(1, ROUNDS + 1)
        }
        held[site] = HeldReplies(replies, {})  # type: ignore[arg-type]
    evidence = replace(
        evidence,
        held=held["elm"],
        others={"fir": held["fir"]},
        sums={"train": asked or AskedOfMany()},  # type: ignore[dict-item]
    )
    ledger = RecountedLedger(plan, "elm", tuple(handed.rows()))
    return {each.claim: each for each in recount_totals(ledger, evidence)}


def evidence_plan(handed: HandedOver) -> Plan:
    stages = tuple(
        stage.model_copy(update={"rounds": ROUNDS}) if stage.name == "train" else stage
        for stage in handed.plan.stages
    )
    return handed.plan.model_copy(update={"stages": stages})


def fresh(_: int) -> np.ndarray:
    return SD * DRAW.normal(size=M)


def test_honest_totals_hold_their_noise_and_the_power_stands_beside_each_tensor(
    made_run: HandedOver,
) -> None:
    found = run_of(made_run, fresh)
    assert (found[HOLDS].verdict, found[FRESH].verdict) == ("pass", "pass")
    figures = found[HOLDS].figures
    assert figures["train first: mean square"] == pytest.approx(1.0, abs=0.08)
    assert figures["train first: power, a tenth left"] == 1.0
    assert figures["train second: power, a tenth missing"] < 0.99
    assert "train second" in found[HOLDS].blind_to
    assert "of which this plan has none" in found[HOLDS].blind_to
    assert found[FRESH].figures["would_show"] == found[FRESH].figures["comparisons"]


def test_a_tensor_with_a_tenth_of_its_noise_is_named(made_run: HandedOver) -> None:
    def spared(_: int) -> np.ndarray:
        total = fresh(0)
        total[1200:] *= 0.1
        return total

    found = run_of(made_run, spared)[HOLDS]
    assert found.verdict == "fail"
    assert "train second holds too little noise" in found.because
    assert "first" not in found.because


def test_under_what_patients_add_a_tenth_shows_when_the_rounds_before_are_taken_off(
    made_run: HandedOver,
) -> None:
    patients = 5 * DRAW.normal(size=M)
    found = run_of(made_run, lambda _: patients + 0.1 * fresh(0))[HOLDS]
    assert found.verdict == "fail"
    honest = run_of(made_run, lambda _: patients + fresh(0))[HOLDS]
    assert honest.verdict == "pass"
    assert honest.figures["train first: mean square"] > 20
    assert honest.figures["train first: power, a tenth left"] == 1.0


def test_noise_that_patients_drown_is_left_to_canaries(made_run: HandedOver) -> None:
    found = run_of(made_run, lambda _: 100 * fresh(0))
    assert (found[HOLDS].verdict, found[FRESH].verdict) == ("not-run", "not-run")
    assert "canaries decide" in found[HOLDS].because
    assert "canaries decide" in found[FRESH].because


def test_noise_of_an_earlier_round_another_site_or_another_half_is_found(made_run: HandedOver) -> None:
    once = fresh(0)
    again = {1: once, 4: once}
    found = run_of(made_run, lambda number: again.get(number, fresh(0)) + 0.01 * number)[FRESH]
    assert found.verdict == "fail"
    assert "round 1" in found.because
    theirs = [fresh(0) for _ in range(ROUNDS + 1)]
    common = run_of(made_run, lambda number: theirs[number], lambda number: theirs[number])[FRESH]
    assert common.verdict == "fail"
    assert "at fir" in common.because

    def repeated(_: int) -> np.ndarray:
        return np.tile(SD * DRAW.normal(size=M // 2), 2)

    halves = run_of(made_run, repeated)[FRESH]
    assert halves.verdict == "fail"
    assert "both halves of the whole" in halves.because

    def by_tensor(_: int) -> np.ndarray:
        drawn = SD * DRAW.normal(size=1200)
        return np.concatenate([drawn, drawn[:800]])

    tensors = run_of(made_run, by_tensor)[FRESH]
    assert tensors.verdict == "fail"
    assert "first and second of train" in tensors.because


def test_a_total_off_the_lattice_is_refuted(made_run: HandedOver) -> None:
    spacing = 2.0**-20
    asked = AskedOfMany(spacing=spacing)
    on = run_of(made_run, lambda _: np.rint(fresh(0) / spacing) * spacing, asked=asked)[HOLDS]
    assert on.verdict == "pass"
    off = run_of(made_run, fresh, asked=asked)[HOLDS]
    assert off.verdict == "fail"
    assert "not on the lattice" in off.because


def test_a_change_that_was_cut_to_its_bound_is_not_held_to_its_noise(made_run: HandedOver) -> None:
    def cut(_: int) -> np.ndarray:
        total = fresh(0)
        return total / np.linalg.norm(total)

    found = run_of(made_run, cut, asked=AskedOfMany(norm_max=1.0))[HOLDS]
    assert found.verdict == "not-run"
    assert found.figures["parts"] == 0


def test_without_a_run_folder_nothing_is_examined(made_run: HandedOver) -> None:
    found = judged(made_run, replace(made_run.evidence(), held=None))
    assert {each.verdict for each in found.values()} == {"not-run"}
    assert {each.because for each in found.values()} == {"no run folder was handed over"}


def test_a_real_run_is_not_blamed_and_its_stages_are_all_there(made_run: HandedOver) -> None:
    found = judged(made_run, made_run.evidence())
    assert "fail" not in {each.verdict for each in found.values()}
    names = " ".join(found[HOLDS].figures)
    for part in ("train head.weight", "train head.bias", "internal ranking", "internal error"):
        assert part in names


def test_a_run_off_the_lattice_is_refuted_from_its_folder(tmp_path: Path) -> None:
    with planted("noise off the lattice"):
        handed = play_run(tmp_path)
    found = judged(handed, handed.evidence())[HOLDS]
    assert found.verdict == "fail"
    assert "the total of train, round 1 is not on the lattice" in found.because
