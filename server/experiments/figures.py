"""The figures of the README: how well each arm reads BMD, measured on fresh patients.

Arms run the functions of a real run: the plan's resolution, a site's sums, the coordinator's steps, the
tail average. Patients are drawn without DICOM files in between; intake is measured elsewhere. Imports
synthetic, the arms of a simulation, measure and plan.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from server.demo.play import play_demo
from server.encoders.file import encoder_file
from server.experiments.figure import Figure, Figures, Row
from server.experiments.page import write_demo, write_figures
from server.federation.compose import compose_settings
from server.simulation.arms import Arm, Trained, plan_arm, train_arm, untrained
from server.synthetic.exams import draw_exams, measure_ceiling
from server.synthetic.hospitals import DEMO_SITES, SyntheticSite
from server.synthetic.physics import random_scanner
from shared.contract.decision import decision_of
from shared.contract.plan import Plan
from shared.contract.settings import Settings
from shared.measure.exact.discrimination import delong, logit_interval
from shared.measure.exact.regression import (
    bootstrap_r2,
    compare_r2,
    measure_regression,
    percentile_interval,
)
from shared.train.patients import PatientBatch, join_patients

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]
HEADS = ("cross_attention", "concatenation", "linear")
EPSILONS = (8.0, 3.0, 1.0)
TRAINING_PATIENTS = {"aster": 112, "birch": 225, "cedar": 450}
FIRST_SEED, EVALUATION_SEED, PUBLIC_SEED = 101, 999, 555
REPLICATES = 1000
_MOST_FILMS = 2  # left and right
_RUN = "figures"


def measure_figures(
    folder: Path, *, n_seeds: int = 3, n_evaluated: int = 3000, progress: Progress | None = None
) -> dict[str, Path]:
    """Measure every arm, play the demo, and write what follows into docs and README.

    Args:
        folder: where the demo is played.
        n_seeds: training populations; their median is printed.
        n_evaluated: fresh patients of the training sites together, and of the external one.
        progress: called with (arms done, arms in all).
    """
    training, external = DEMO_SITES[:-1], DEMO_SITES[-1]
    evaluation = _evaluation_sets(training, external, n_evaluated)
    seeds = tuple(FIRST_SEED + number for number in range(n_seeds))
    collected: dict[tuple[str, str, float | None], list[Trained]] = {}
    for number, seed in enumerate(seeds):
        patients = _training_sets(training, seed)
        for place, head in enumerate(HEADS, start=1):
            for key, trained in _train_arms(head, patients).items():
                collected.setdefault((head, *key), []).append(trained)
            if progress:
                progress(number * len(HEADS) + place, n_seeds * len(HEADS))
    rows = tuple(_row(key, runs, evaluation) for key, runs in collected.items())
    figures = Figures(
        rows=rows,
        ceilings={site.name: _ceiling(site) for site in DEMO_SITES},
        federated_minus_smallest_alone={
            head: _compare(collected, head, evaluation["internal"]) for head in HEADS
        },
        n_internal=len(evaluation["internal"]),
        n_external=len(evaluation["external"]),
        seeds=seeds,
        operating_points=measure_operating_points(0.85),
        measured_utc=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    written = write_figures(figures)
    began = time.monotonic()
    results, _ = play_demo(folder / "demo", overrides=[], seed=1)
    return written | write_demo(results, time.monotonic() - began)


def measure_operating_points(sensitivity: float, *, seed: int = PUBLIC_SEED) -> tuple[float, ...]:
    """For each cut of the label, the output at or below which a share ``sensitivity`` falls.

    Of the patients at or below that cut, on a public population of scanners and patients that no site
    of the demo has, read by a federated model under ε = 3: what the task's operating points are set to.
    """
    rng = np.random.default_rng(seed)
    sites = [
        replace(
            site,
            name=f"public-{site.name}",
            scanners=(random_scanner(rng, is_usual=True),),
            bone_offset=0.0,
        )
        for site in DEMO_SITES
    ]
    sizes = dict(zip((site.name for site in sites), TRAINING_PATIENTS.values(), strict=False))
    patients = {site.name: draw_patients(site, sizes[site.name], rng) for site in sites[:-1]}
    trained = _run(HEADS[0], 3.0, patients)
    fresh = join_patients(*(draw_patients(site, 1000, rng) for site in sites))
    output, target = _read(trained, fresh)
    cuts = decision_of(trained.plan.settings).label_cuts
    return tuple(float(np.quantile(output[target <= cut], sensitivity)) for cut in cuts)


def _train_arms(
    head: str, patients: dict[str, PatientBatch]
) -> dict[tuple[str, float | None], Trained]:
    """Every arm of a head on one training population."""
    arms: dict[tuple[str, float | None], Trained] = {}
    everybody = {"pooled": join_patients(*patients.values())}
    for epsilon in (None, *EPSILONS):
        arms["pooled", epsilon] = _run(head, epsilon, everybody)
        arms["federated", epsilon] = _run(head, epsilon, patients)
        for site, batch in patients.items():
            arms[f"{site} alone", epsilon] = _run(head, epsilon, {site: batch})
    plan = _plan(head, None, list(patients))
    arms["no hospital training", None] = untrained(plan)
    if head == HEADS[0]:
        for single in ("image_only", "clinical_only"):
            arms[f"pooled, {single}", None] = _run(single, None, everybody)
    return arms


def _run(head: str, epsilon: float | None, patients: dict[str, PatientBatch]) -> Trained:
    declared = {site: len(batch) for site, batch in patients.items()}
    return train_arm(_settings(head, epsilon), Arm(patients, declared), run=_RUN)


def _plan(
    head: str, epsilon: float | None, sites: Sequence[str], sizes: dict[str, int] | None = None
) -> Plan:
    declared = {site: (sizes or TRAINING_PATIENTS)[site] for site in sites}
    return plan_arm(_settings(head, epsilon), declared, run=_RUN)


def _settings(head: str, epsilon: float | None) -> Settings:
    privacy = "privacy=off" if epsilon is None else f"privacy.epsilon={epsilon}"
    return compose_settings([f"fusion={head}", privacy])


def _training_sets(sites: Sequence[SyntheticSite], seed: int) -> dict[str, PatientBatch]:
    return {
        site.name: draw_patients(site, TRAINING_PATIENTS[site.name], np.random.default_rng([seed, n]))
        for n, site in enumerate(sites)
    }


def _evaluation_sets(
    training: Sequence[SyntheticSite], external: SyntheticSite, n_patients: int
) -> dict[str, PatientBatch]:
    share = -(-n_patients // len(training))
    internal = [
        draw_patients(site, share, np.random.default_rng([EVALUATION_SEED, n]))
        for n, site in enumerate(training)
    ]
    outside = draw_patients(external, n_patients, np.random.default_rng([EVALUATION_SEED, 99]))
    return {"internal": join_patients(*internal), "external": outside}


def draw_patients(site: SyntheticSite, n: int, rng: np.random.Generator) -> PatientBatch:
    """Fresh patients of a synthetic site as the model takes them, films encoded, one exam each."""
    import torch

    from server.encoders.prepared import see_film
    from shared.exam.standardise import standardise
    from shared.model.encoders import encode, load_encoder
    from shared.train.patients import build_patients, standardise_target

    plan = _plan("linear", None, list(TRAINING_PATIENTS))
    settings = plan.settings
    exams = draw_exams(site, n, rng)
    films: list[NDArray[np.float32]] = []
    exam_films: list[tuple[int, ...]] = []
    for exam in exams:
        start = len(films)
        view, edge = settings.cohort.views[0], settings.cohort.image_pixels
        films += [see_film(film, site.look, view, edge, rng) for film in exam.films]
        exam_films.append(tuple(range(start, len(films))))
    fields, field_mask = standardise([exam.clinical for exam in exams], settings.cohort)
    weights = encoder_file(settings.encoder)
    if weights is None:
        raise ValueError("figures need the default encoder")
    tokens = encode(load_encoder(settings.encoder, weights), torch.from_numpy(np.stack(films))[:, None])
    target = np.array([exam.bmd_g_cm2 for exam in exams])
    return build_patients(
        fields=fields,
        field_mask=field_mask,
        target=standardise_target(target, settings.task),
        patient_index=np.arange(n),
        exam_films=exam_films,
        film_order=range(len(films)),
        exam_order=range(n),
        tokens=tokens,
        # no empty room: what a patient adds to a sum is the same without it
        max_views=_MOST_FILMS,
        max_exams=1,
    )


def _row(
    key: tuple[str, str, float | None],
    runs: Sequence[Trained],
    evaluation: dict[str, PatientBatch],
) -> Row:
    head, arm, epsilon = key
    internal = [_figure(run, evaluation["internal"]) for run in runs]
    external = [_figure(run, evaluation["external"]) for run in runs]
    return Row(
        head=head,
        arm=arm,
        epsilon=epsilon,
        internal=_median(internal),
        external=_median(external),
        seeds_r2=tuple(figure.r2[0] for figure in internal),
    )


def _median(figures: Sequence[Figure]) -> Figure:
    """The figure of the seed whose R² is the (lower) median."""
    middle = statistics.median_low([figure.r2[0] for figure in figures])
    return next(figure for figure in figures if figure.r2[0] == middle)


def _figure(trained: Trained, batch: PatientBatch) -> Figure:
    prediction, target = _read(trained, batch)
    measured = measure_regression(target, prediction)
    generator = np.random.default_rng(EVALUATION_SEED)
    drawn = bootstrap_r2(
        target, prediction[None], np.arange(target.size), replicates=REPLICATES, generator=generator
    )
    threshold = _threshold(trained.plan)
    aucs, covariance = delong(-prediction[None], target <= threshold)
    auc = float(aucs[0])
    return Figure(
        r2=(measured.r2, *percentile_interval(drawn[:, 0])),
        mae=measured.mae,
        auc=(auc, *logit_interval(auc, float(covariance[0, 0]))),
    )


def _threshold(plan: Plan) -> float:
    """At or below it a BMD counts as osteoporotic."""
    task = plan.settings.task
    if task.kind != "regression":
        raise ValueError("figures are those of a regression")
    return task.endpoint_threshold


def _read(trained: Trained, batch: PatientBatch) -> tuple[Floats, Floats]:
    from shared.train.update import score_patients

    outputs, target = score_patients(trained.plan.settings, batch, trained.weights)
    return outputs[:, 0], target


def _compare(
    collected: dict[tuple[str, str, float | None], list[Trained]], head: str, batch: PatientBatch
) -> tuple[float, float, float]:
    """R² of federated minus the smallest site alone at ε = 1, median seed, with paired interval."""
    smallest = min(TRAINING_PATIENTS, key=lambda site: TRAINING_PATIENTS[site])
    pairs = zip(
        collected[head, "federated", 1.0], collected[head, f"{smallest} alone", 1.0], strict=True
    )
    differences = []
    for federated, alone in pairs:
        ours, target = _read(federated, batch)
        theirs, _ = _read(alone, batch)
        found = compare_r2(
            target,
            ours,
            theirs,
            np.arange(target.size),
            replicates=REPLICATES,
            generator=np.random.default_rng(EVALUATION_SEED),
        )
        differences.append((found.value, found.low, found.high))
    return statistics.median_low(differences)


def _ceiling(site: SyntheticSite) -> dict[str, float]:
    return asdict(measure_ceiling(site, np.random.default_rng(EVALUATION_SEED)))
