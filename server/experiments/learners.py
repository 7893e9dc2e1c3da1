"""The figures of the learners of tables: federated, pooled and alone, on fresh synthetic patients.

Each learner runs as a stage would: rows, lattice, each site's noise, ``advance``. Patients are drawn as
for ``server.experiments.figures``; three classes come from their T-score. By hand:
``python -m server.experiments.learners_page`` writes ``docs/learners.md``; no figure in it is typed.
What it has measured is kept by learner, so that a run that was cut off goes on.
Imports figures, learners and measures.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from server.experiments.figures import EVALUATION_SEED, FIRST_SEED, TRAINING_PATIENTS, draw_patients
from server.federation.compose import CONFIGS, compose_settings
from server.synthetic.hospitals import DEMO_SITES
from shared.contract.settings import Settings
from shared.errors import SettingsError
from shared.features.columns import Columns, make_columns, name_columns
from shared.learners.table import LearnerSettings, build_learner, read_learner
from shared.learners.task import TableTask
from shared.measure.exact.discrimination import measure_auc
from shared.measure.exact.regression import measure_regression
from shared.privacy.accountant import gaussian_mu
from shared.privacy.noise import NoiseStream
from shared.sums.contract import Learner, State
from shared.sums.federate import Noise, federate
from shared.train.patients import PatientBatch

Floats = NDArray[np.float64]
EPSILONS = (1.0, 3.0, 8.0, None)
DELTA = 1e-5
# Those of a group train together; what the groups end at is averaged over their patients.
Groups = list[list[Columns]]


@dataclass(frozen=True)
class Entry:
    """A learner as it is measured: its kind, and what of its settings is not the default.

    ``is_iterated``: its states can be averaged, so that a site may take all its steps alone.
    """

    name: str
    kind: str
    changes: Mapping[str, object] = field(default_factory=dict)
    has_classes: bool = True
    is_iterated: bool = False


ENTRIES = (
    Entry("proportional odds", "proportional_odds", is_iterated=True),
    Entry("proportional odds, 3 sums", "proportional_odds", {"sums": 3}, is_iterated=True),
    Entry("proportional odds, 1 sum", "proportional_odds", {"sums": 1}, is_iterated=True),
    Entry("discriminants (LDA)", "second_moments", {"read_as": "discriminants"}),
    Entry("naive Bayes", "naive_bayes"),
    Entry("soft neighbours", "soft_neighbours"),
    Entry("forest", "forest"),
    Entry("logistic", "logistic", is_iterated=True),
    Entry("linear SVM", "linear_svm"),
    Entry("network", "mlp"),
    Entry("LDA, reading by ε", "lda"),
    Entry("nearest centroid", "nearest_centroid"),
    Entry("boosting", "boosting"),
    Entry("20 columns kept, proportional odds", "selection"),
    Entry("ridge", "second_moments", {"read_as": "ridge"}, has_classes=False),
    Entry("LASSO", "second_moments", {"read_as": "lasso"}, has_classes=False),
)


# Options of configs/learner that are meant not to be measured here, and why.
NOT_MEASURED: Mapping[str, str] = {
    "clusters_mlp": "at no ε of this page would its clusters be heard above the noise of so few "
    "patients; it is then a network on the columns of the largest public sizes",
    "gradient": "trains a fusion, whose figures are in the README",
    "lasso": "chooses among radiomics and a network's components of vertebrae: docs/experiments.md",
    "representatives": "chooses among components of three networks: docs/experiments.md",
    "proportional_hazards": "learns a time to event, and these patients are not followed",
}
_NOT_YET = "not yet: a line in `ENTRIES` of server/experiments/learners.py has it measured"


def not_measured() -> dict[str, str]:
    """Every option of configs/learner without an entry, and why it has none."""
    options = sorted(path.stem for path in (CONFIGS / "learner").glob("*.yaml"))
    measured = {entry.kind for entry in ENTRIES}
    return {option: NOT_MEASURED.get(option, _NOT_YET) for option in options if option not in measured}


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        populations: training populations, each with the same fresh patients.
        evaluated: fresh patients of the training sites together, and of the external hospital.
        draws: of the noise, per population.
    """

    populations: int = 6
    evaluated: int = 2400
    draws: int = 3


QUICK = Size(populations=1, evaluated=600, draws=1)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One learner's mean figure by arm and ε, with its standard error over populations."""

    name: str
    figure: str
    arms: dict[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class Population:
    """Training patients by site, fresh ones of the same sites, and those of the external hospital."""

    sites: dict[str, Columns]
    fresh: Columns
    external: Columns


def measure_learners(
    *,
    size: Size,
    populations: Callable[[], Sequence[Population]],
    kept: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Measured, ...]:
    """Every learner in every arm.

    Args:
        size: how much.
        populations: drawn where a line is missing.
        kept: a file with a line per learner that is done at a size; each new one is added.
        progress: called with what is done.
    """
    settings, done, measured = compose_settings(), read_kept(kept, size), []
    for entry in ENTRIES:
        found = done.get(entry.name)
        if found is None:
            found = _measure(entry, settings, populations(), size.draws)
            keep_line(kept, size, found)
        measured.append(found)
        if progress:
            progress(json.dumps(asdict(found)))
    return tuple(measured)


def read_kept(kept: Path | None, size: Size) -> dict[str, Measured]:
    """What was measured at this size, by name."""
    if kept is None or not kept.exists():
        return {}
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    found = {}
    for line in lines:
        if line["size"] == asdict(size):
            arms = {arm: [(value, error) for value, error in row] for arm, row in line["arms"].items()}
            found[line["name"]] = Measured(name=line["name"], figure=line["figure"], arms=arms)
    return found


def keep_line(kept: Path | None, size: Size, found: Measured) -> None:
    """Add what was measured at a size to the kept lines."""
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with kept.open("a") as stream:
            stream.write(json.dumps({"size": asdict(size), **asdict(found)}) + "\n")


def draw_populations(settings: Settings, size: Size) -> list[Population]:
    """Training populations, each with the same fresh patients."""
    n, n_evaluated = size.populations, size.evaluated
    sites, outside = DEMO_SITES[:-1], DEMO_SITES[-1]
    share = -(-n_evaluated // len(sites))
    fresh = [
        _columns(settings, draw_patients(site, share, np.random.default_rng([EVALUATION_SEED, place])))
        for place, site in enumerate(sites)
    ]
    joined = join_columns(fresh)
    rng = np.random.default_rng([EVALUATION_SEED, len(sites)])
    external = _columns(settings, draw_patients(outside, n_evaluated, rng))
    populations = []
    for seed in range(FIRST_SEED, FIRST_SEED + n):
        training = {}
        for place, site in enumerate(sites):
            rng = np.random.default_rng([seed, place])
            drawn = draw_patients(site, TRAINING_PATIENTS[site.name], rng)
            training[site.name] = _columns(settings, drawn)
        populations.append(Population(training, joined, external))
    return populations


def _columns(settings: Settings, patients: PatientBatch) -> Columns:
    return make_columns(
        patients,
        settings.cohort.fields,
        is_class=False,
        channels=settings.encoder.token_channels,
    )


def join_columns(parts: Sequence[Columns]) -> Columns:
    """Patients of several places in one."""
    return Columns(
        np.concatenate([part.columns for part in parts]),
        np.concatenate([part.target for part in parts]),
    )


def classes_of(patients: Columns, settings: Settings) -> Columns:
    """The same patients with the class of their T-score: as many cuts as it is at or below.

    Raises:
        SettingsError: the cohort's label is no BMD.
    """
    task, label = settings.task, settings.cohort.label
    if label.kind != "bmd" or task.kind != "regression":
        raise SettingsError("no-t-score", f"label must be a bmd that is predicted, not {label.kind}")
    bmd = task.target_mean + task.target_sd * patients.target
    t_score = (bmd - label.reference_mean) / label.reference_sd
    index = sum((t_score <= cut).astype(np.float64) for cut in label.class_t_scores)
    return Columns(patients.columns, np.asarray(index, dtype=np.float64))


def _measure(
    entry: Entry, settings: Settings, populations: Sequence[Population], n_draws: int
) -> Measured:
    arms: dict[str, list[tuple[float, float]]] = {}
    for epsilon in EPSILONS:
        found: dict[str, list[float]] = {}
        for population in populations:
            for arm, (groups, fresh) in _arms(population, is_iterated=entry.is_iterated).items():
                draws = [
                    measure_figure(entry, settings, epsilon, groups, fresh)
                    for _ in range(n_draws if epsilon else 1)
                ]
                found.setdefault(arm, []).append(statistics.fmean(draws))
        for arm, values in found.items():
            arms.setdefault(arm, []).append(mean_with_error(values))
    figure = "AUC" if entry.has_classes else "R²"
    return Measured(name=entry.name, figure=figure, arms=arms)


def mean_with_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean over populations and its standard error; of one population NaN."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return statistics.fmean(values), error


def _arms(population: Population, *, is_iterated: bool) -> dict[str, tuple[Groups, Columns]]:
    """Who trains together and who is scored.

    Three sites, read at home and at a hospital that never trained; each site alone with its last state
    averaged, which is one message folded at the site; everybody in one place; the largest and the
    smallest site.
    """
    sites, fresh = population.sites, population.fresh
    pooled = join_columns(list(sites.values()))
    by_size = sorted(sites, key=lambda name: len(sites[name]))
    together: Groups = [list(sites.values())]
    arms = {"federated": (together, fresh), "federated, external": (together, population.external)}
    if is_iterated:
        arms["one message"] = [[site] for site in sites.values()], fresh
    return arms | {
        "pooled": ([[pooled]], fresh),
        f"{by_size[-1]} alone": ([[sites[by_size[-1]]]], fresh),
        f"{by_size[0]} alone": ([[sites[by_size[0]]]], fresh),
    }


def measure_figure(
    entry: Entry, settings: Settings, epsilon: float | None, groups: Groups, fresh: Columns
) -> float:
    """Macro one-against-the-rest AUC, or R², of one run on fresh patients."""
    learner = _learner(entry, settings, epsilon)
    if entry.has_classes:
        groups = [[classes_of(site, settings) for site in group] for group in groups]
        fresh = classes_of(fresh, settings)
    noise = None if epsilon is None else Noise(gaussian_mu(epsilon, DELTA), NoiseStream())
    sizes = [sum(len(site) for site in group) for group in groups]
    states = [
        federate(learner, group, n_declared=size, noise=noise)
        for group, size in zip(groups, sizes, strict=True)
    ]
    vector = np.average([state.vector for state in states], axis=0, weights=sizes)
    return score_output(entry, learner.predict(State(vector, states[0].sums_done), fresh), fresh)


def score_output(entry: Entry, output: Floats, fresh: Columns) -> float:
    """Macro AUC of outputs [n,q] of classes, or R² of [n,1]."""
    if not entry.has_classes:
        return measure_regression(fresh.target, output[:, 0]).r2
    return statistics.fmean(
        measure_auc(output[:, index], fresh.target == index) for index in range(output.shape[1])
    )


def read_settings(entry: Entry) -> LearnerSettings:
    """An entry's settings: those that are shipped, with its changes."""
    shipped = yaml.safe_load((CONFIGS / "learner" / f"{entry.kind}.yaml").read_text())
    return read_learner({**shipped, **entry.changes})


def _learner(entry: Entry, settings: Settings, epsilon: float | None) -> Learner[Columns]:
    label = settings.cohort.label
    n_classes = len(label.classes) if entry.has_classes and label.kind != "number" else 0
    task = TableTask(
        columns=name_columns(settings.cohort.fields, channels=settings.encoder.token_channels),
        n_classes=n_classes,
        is_ordered=label.kind != "number" and label.is_ordered,
        seed=settings.seed,
        epsilon=epsilon,
    )
    return build_learner(read_settings(entry), task)
