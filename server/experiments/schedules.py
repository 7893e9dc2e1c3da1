"""The figures of the schedules: every head under every schedule, at two sizes, on fresh patients.

A model is trained under the plan that its settings and sizes would have, and read on synthetic patients
of the training sites; populations are those of ``server.experiments.figures``, and no schedule was
chosen on them. By hand: ``make schedules`` writes ``configs/schedules.json``, which a plan reads, and
``docs/schedules.md``. Imports figures and arms.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from server.experiments.figures import (
    EVALUATION_SEED,
    FIRST_SEED,
    TRAINING_PATIENTS,
    draw_patients,
)
from server.experiments.schedules_page import quote_schedules, schedules_page
from server.federation.compose import compose_settings
from server.federation.measured import (
    MEASURED_FILE,
    MeasuredSchedule,
    MeasuredSchedules,
    read_measured,
    row_of,
)
from server.simulation.arms import Arm, score_arm, train_arm
from server.synthetic.hospitals import DEMO_SITES
from shared.contract.settings import Settings
from shared.machine.files import PROJECT, write_atomic
from shared.machine.terminal import say
from shared.measure.exact.regression import measure_regression
from shared.train.patients import PatientBatch, join_patients

HEADS = ("cross_attention", "concatenation", "linear", "image_only", "clinical_only")
SCHEDULES = ("standard", "few_messages", "one_message")
EPSILONS = (8.0, 3.0, 1.0)
# Who trains together: all, and the smallest site by itself.
PLACES = (tuple(TRAINING_PATIENTS), (min(TRAINING_PATIENTS, key=lambda site: TRAINING_PATIENTS[site]),))
N_SEEDS, N_EVALUATED = 3, 3000
_RUN = "schedules"


def measure_schedules(
    *,
    heads: Sequence[str] = HEADS,
    schedules: Sequence[str] = SCHEDULES,
    epsilons: Sequence[float] = EPSILONS,
    places: Sequence[Sequence[str]] = PLACES,
    sizes: Mapping[str, int] = TRAINING_PATIENTS,
    n_seeds: int = N_SEEDS,
    n_evaluated: int = N_EVALUATED,
    progress: Callable[[MeasuredSchedule], None] | None = None,
) -> MeasuredSchedules:
    """Every head under every schedule, at every ε, in every place.

    Args:
        heads: fusions that are trained by gradients.
        schedules: of each head.
        epsilons: promised to a patient.
        places: the sites that train together.
        sizes: training patients of each site.
        n_seeds: training populations.
        n_evaluated: fresh patients of all sites together.
        progress: called with each figure.
    """
    seeds = tuple(FIRST_SEED + number for number in range(n_seeds))
    populations = [_population(sizes, seed) for seed in seeds]
    share = -(-n_evaluated // len(sizes))
    fresh = join_patients(*_population(dict.fromkeys(sizes, share), EVALUATION_SEED).values())
    rows = []
    for head, schedule, epsilon, place in _cells(heads, schedules, epsilons, places):
        settings = compose_settings(
            [f"fusion={head}", f"schedule={schedule}", f"privacy.epsilon={epsilon}"]
        )
        together = [{site: patients[site] for site in place} for patients in populations]
        rows.append(_measure(settings, together, fresh))
        if progress:
            progress(rows[-1])
    common = compose_settings()
    return MeasuredSchedules(
        encoder_sha256=common.encoder.sha256,
        cohort=common.cohort.name,
        clip_norm=common.privacy.clip_norm,
        seeds=seeds,
        n_evaluated=len(fresh),
        measured_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=tuple(rows),
    )


def write_schedules(
    measured: MeasuredSchedules, *, file: Path = MEASURED_FILE, root: Path = PROJECT
) -> tuple[Path, Path, Path]:
    """Write the figures where a plan finds them, ``docs/schedules.md``, and what a how-to quotes."""
    write_atomic(file, json.dumps(measured.model_dump(mode="json"), indent=1).encode() + b"\n")
    page, quoting = root / "docs" / "schedules.md", root / "docs" / "how-to" / "slow-links.md"
    written = read_measured(file)
    write_atomic(page, schedules_page(written).encode())
    write_atomic(quoting, quote_schedules(quoting.read_text(), written).encode())
    return file, page, quoting


def _cells(
    heads: Sequence[str],
    schedules: Sequence[str],
    epsilons: Sequence[float],
    places: Sequence[Sequence[str]],
) -> Iterable[tuple[str, str, float, Sequence[str]]]:
    return (
        (head, schedule, epsilon, place)
        for place in places
        for head in heads
        for schedule in schedules
        for epsilon in epsilons
    )


def _population(sizes: Mapping[str, int], seed: int) -> dict[str, PatientBatch]:
    return {
        site.name: draw_patients(site, sizes[site.name], np.random.default_rng([seed, place]))
        for place, site in enumerate(DEMO_SITES)
        if site.name in sizes
    }


def _measure(
    settings: Settings, populations: Sequence[Mapping[str, PatientBatch]], fresh: PatientBatch
) -> MeasuredSchedule:
    """One figure: a model of each population, read on the same fresh patients."""
    declared = {site: len(patients) for site, patients in populations[0].items()}
    models = [train_arm(settings, Arm(patients, declared), run=_RUN) for patients in populations]
    stage, epsilon = models[0].plan.training, settings.privacy.epsilon
    if stage is None or epsilon is None:
        raise ValueError("schedules are those of private training by gradients")
    read = [score_arm(model, fresh) for model in models]
    return MeasuredSchedule(
        fusion=settings.fusion,
        schedule=settings.schedule,
        epsilon=epsilon,
        declared=tuple(declared.values()),
        row=row_of(stage),
        r2=tuple(round(measure_regression(each.label, each.outputs[:, 0]).r2, 4) for each in read),
    )


def _tell(row: MeasuredSchedule) -> None:
    say(f"{row.fusion.name}, {row.schedule}, ε {row.epsilon:g}, {sum(row.declared)}: {row.r2}")


if __name__ == "__main__":
    write_schedules(measure_schedules(progress=_tell))
