"""What bad hospitals cost under each rule: hip tables, with and without them, read on fresh patients.

A hospital that is bad is so in every round. It answers by the product's own sums and then changes its
total, or its labels before; nothing that it sends is beyond the bound of a total, so every reply would
be accepted. By hand: ``make robustness`` keeps a line per training in ``docs/data/robustness.jsonl``,
goes on where it was cut off, and writes ``docs/robustness.md``. Imports arms and synthetic hospitals.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from server.experiments.robustness_lines import BAD, SIZES, Case, Line, list_cases, read_lines
from server.experiments.robustness_page import robustness_page
from server.federation.compose import compose_settings
from server.simulation.arms import Trained, plan_arm, score_arm
from server.synthetic.exams import draw_record
from server.synthetic.hospitals import TRAINING_SITES, SyntheticSite
from server.synthetic.population import draw_patient
from shared.contract.decision import decision_of
from shared.contract.plan import Plan, RosterEntry
from shared.contract.protocol import Vector
from shared.contract.settings import Settings
from shared.contract.stages import GradientStage
from shared.exam.standardise import standardise
from shared.machine.files import PROJECT, write_atomic
from shared.machine.terminal import say
from shared.measure.exact.discrimination import measure_auc
from shared.measure.exact.regression import measure_regression
from shared.privacy.noise import NoiseStream
from shared.stages.gradient import GradientSum
from shared.train.aggregate import tail_average
from shared.train.patients import PatientBatch, build_patients, join_patients, standardise_target
from shared.train.robust import kept_shares, per_declared

KEPT, PAGE = "docs/data/robustness.jsonl", "docs/robustness.md"
# What the trimmed mean leaves out at each end, of so many hospitals: as many as are bad.
TRIMMED: Mapping[int, float] = {5: 0.2, 7: 0.3}
N_FRESH, _FRESH_SEED = 1500, 9_301
_TIMES = 10.0  # a scaled or random total is so many honest ones, if its bound allows


def measure_robustness(
    asked: Sequence[Case],
    *,
    kept: Path | None = None,
    n_fresh: int = N_FRESH,
    progress: Callable[[Line], None] | None = None,
) -> list[Line]:
    """A line for each case.

    Args:
        asked: the cases.
        kept: a file with a line per case that is done; each new one is added.
        n_fresh: patients that every model is read on.
        progress: called with each new line.
    """
    done = {line.case: line for line in read_lines(kept)} if kept and kept.exists() else {}
    for case in asked:
        if case in done:
            continue
        done[case] = _measure(case, n_fresh)
        if kept:
            with kept.open("a") as stream:
                stream.write(json.dumps(asdict(done[case])) + "\n")
        if progress:
            progress(done[case])
    return [done[case] for case in asked]


def settings_of(case: Case) -> Settings:
    """The shipped experiment on tables, under the case's rule and ε."""
    privacy = ["privacy=off"] if case.epsilon is None else [f"privacy.epsilon={case.epsilon}"]
    trimmed = [f"strategy.trimmed_fraction={TRIMMED[case.n_sites]}"]
    return compose_settings(
        ["experiment=hip_table", f"strategy={case.rule}", "federation.quorum=1", *trimmed, *privacy]
    )


def _measure(case: Case, n_fresh: int) -> Line:
    plan = _plan(case.n_sites, case.rule, case.epsilon)
    trained, kept = train_with_bad(plan, case)
    scored = score_arm(trained, _fresh(n_fresh))
    value = scored.outputs[:, 0]
    decision = decision_of(plan.settings)
    positive = decision.class_of(scored.label) == decision.endpoint
    return Line(
        case=case,
        r2=round(measure_regression(scored.label, value).r2, 4),
        auc=round(measure_auc(-value, positive), 4),
        kept=round(kept, 4),
    )


def train_with_bad(plan: Plan, case: Case) -> tuple[Trained, float]:
    """A whole training in memory with the case's bad hospitals, and their mean kept share of 1."""
    stage = plan.trained
    if not isinstance(stage, GradientStage):
        raise TypeError("robust rules are of training by gradients")
    asked, bad = GradientSum(plan, stage, None), BAD[case.n_sites]
    rng = np.random.default_rng([case.seed, len(bad)])
    patients = [
        flipped(batch) if case.attack == "label flip" and number in bad else batch
        for number, batch in enumerate(_population(case.n_sites, case.seed))
    ]
    state, kept = asked.start(), []
    vectors = [state.vector]
    for number in range(1, stage.rounds + 1):
        totals = []
        for place, entry in enumerate(plan.roster):
            total = asked.answer(
                state.vector,
                patients[place],
                round_number=number,
                declared_patients=entry.declared_patients,
                draw_normals=NoiseStream(),
            )
            largest = asked.largest(number, declared_patients=entry.declared_patients)
            totals.append(spoilt(total, case.attack, largest, rng) if place in bad else total)
        kept.append(_kept_of_bad(stage, totals, plan.roster, bad))
        state = asked.advance(state, totals, sites=plan.roster)
        vectors.append(state.vector)
    tail = vectors[-stage.strategy.n_averaged(stage.rounds) :]
    return Trained(tail_average(tail), plan), float(np.mean(kept))


def spoilt(total: Vector, attack: str, largest: float, rng: np.random.Generator) -> Vector:
    """What a bad hospital sends instead of its total [p]; never longer than ``largest``."""
    norm = float(np.linalg.norm(total))
    sent = np.asarray(total, np.float64)
    if attack == "scaled":
        sent = _TIMES * sent
    elif attack == "sign flip":
        sent = -sent
    elif attack == "random":
        drawn = rng.standard_normal(sent.size)
        sent = drawn * (_TIMES * norm / np.linalg.norm(drawn))
    longest = float(np.linalg.norm(sent))
    within = sent * min(1.0, largest / longest) if longest > 0 else sent
    return within.astype("<f4") if total.dtype == np.dtype("<f4") else within


def flipped(batch: PatientBatch) -> PatientBatch:
    """The same patients with each target [b,u] mirrored about the public mean: thin bones are thick."""
    return replace(batch, target=-batch.target)


def _kept_of_bad(
    stage: GradientStage,
    totals: Sequence[Vector],
    roster: Sequence[RosterEntry],
    bad: Sequence[int],
) -> float:
    if not stage.strategy.is_robust:
        return sum(roster[place].weight for place in bad)
    declared = [entry.declared_patients for entry in roster]
    shares = kept_shares(per_declared(totals, declared, fold=stage.fold), stage.strategy)
    return sum(shares[place] for place in bad)


@cache
def _plan(n_sites: int, rule: str, epsilon: float | None) -> Plan:
    case = Case(n_sites=n_sites, attack="none", rule=rule, epsilon=epsilon, seed=0)
    declared = {f"hospital-{number + 1}": SIZES[number] for number in range(n_sites)}
    return plan_arm(settings_of(case), declared, run="robustness")


@cache
def _population(n_sites: int, seed: int) -> tuple[PatientBatch, ...]:
    """Training patients of each hospital: the synthetic sites in turn."""
    return tuple(
        draw_table(TRAINING_SITES[number % 3], SIZES[number], np.random.default_rng([seed, number]))
        for number in range(n_sites)
    )


@cache
def _fresh(n: int) -> PatientBatch:
    """Fresh patients of the training hospitals together."""
    share = -(-n // len(TRAINING_SITES))
    return join_patients(
        *(
            draw_table(site, share, np.random.default_rng([_FRESH_SEED, place]))
            for place, site in enumerate(TRAINING_SITES)
        )
    )


def draw_table(site: SyntheticSite, n: int, rng: np.random.Generator) -> PatientBatch:
    """Fresh patients of a synthetic site by their records alone, one exam each."""
    settings = compose_settings(["experiment=hip_table"])
    exams = [draw_record(site, draw_patient(site.population, rng), k, rng) for k in range(n)]
    fields, field_mask = standardise([exam.clinical for exam in exams], settings.cohort)
    target = np.array([exam.bmd_g_cm2 for exam in exams])
    return build_patients(
        fields=fields,
        field_mask=field_mask,
        target=standardise_target(target, settings.task),
        patient_index=np.arange(n),
        exam_films=[()] * n,
        film_order=(),
        exam_order=range(n),
        tokens=torch.zeros(0, 0, 0),
        max_views=1,
        max_exams=1,
    )


def write_robustness(root: Path = PROJECT) -> None:
    """Measure what is not kept yet, and write the page."""
    lines = measure_robustness(list(list_cases()), kept=root / KEPT, progress=_tell)
    write_atomic(root / PAGE, robustness_page(lines, n_fresh=N_FRESH).encode())


def _tell(line: Line) -> None:
    say(f"{line.case}: R² {line.r2}, AUC {line.auc}, kept {line.kept}")


if __name__ == "__main__":
    write_robustness()
