"""Learners without privacy beside scikit-learn's models, trained on the same patients in one place.

A federated run without noise asks the same sums as with it: scikit-learn takes patients, not sums, and
cannot be federated. What that costs is the difference here. Peers are what somebody who holds all
patients would type: standardised columns, scikit-learn's usual settings, and the one that decides
chosen by folds of the training patients. The one door to scikit-learn, which only who measures needs.
Imports the learners' figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import LassoCV, LogisticRegression, RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from server.experiments.learners import (
    ENTRIES,
    Entry,
    Measured,
    Population,
    Size,
    classes_of,
    join_columns,
    keep_line,
    mean_with_error,
    measure_figure,
    read_kept,
    read_settings,
    score_output,
)
from server.federation.compose import compose_settings
from shared.contract.settings import Settings
from shared.features.columns import Columns
from shared.learners.linear_svm import LinearSvmSettings
from shared.learners.rows import Floats, softmax

Pipeline = Sequence[BaseEstimator]
OURS, PEER = "ours", "scikit-learn"
# A gap above which a reason must stand.
LARGEST_GAP = 0.02
# Differences on the same patients vary little, and folds take as long as thirty fits.
MOST_POPULATIONS = 3
_SEED = 0
_MORE_STEPS = 5000  # than usual, so that every fit comes to its end


@dataclass(frozen=True)
class Peer:
    """scikit-learn's model of the same kind as an entry.

    Attributes:
        words: its name there.
        make: untrained, after columns without any variance are left out and others standardised.
        why: why ours lies more than ``LARGEST_GAP`` below or above it; empty where it does not.
    """

    words: str
    make: Callable[[], Pipeline]
    why: str = ""


def _chosen(model: BaseEstimator, scoring: str = "neg_log_loss", **grid: Sequence[float]) -> Pipeline:
    """A model whose one deciding setting five folds of the training patients choose."""
    return [GridSearchCV(model, grid, scoring=scoring)]


_PENALTIES = tuple(10.0**power for power in range(-4, 3))
PEERS: Mapping[str, Peer] = {
    "logistic": Peer(
        "LogisticRegression", lambda: _chosen(LogisticRegression(max_iter=_MORE_STEPS), C=_PENALTIES)
    ),
    # One joint margin as ours. It has no probabilities, so that folds are scored by what it gets right.
    "linear SVM": Peer(
        "LinearSVC, Crammer and Singer",
        lambda: _chosen(
            LinearSVC(multi_class="crammer_singer", random_state=_SEED, max_iter=100_000),
            scoring="accuracy",
            C=_PENALTIES[:5],
        ),
    ),
    # As wide as ours.
    "network": Peer(
        "MLPClassifier",
        lambda: _chosen(
            MLPClassifier((16,), max_iter=_MORE_STEPS, random_state=_SEED), alpha=(1.0, 10.0, 100.0)
        ),
    ),
    # Shrunk by the closed form of Ledoit and Wolf, usual where patients are few for so many columns.
    "discriminants (LDA)": Peer(
        "LinearDiscriminantAnalysis",
        lambda: [LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")],
    ),
    "LDA, reading by ε": Peer(
        "LinearDiscriminantAnalysis",
        lambda: [LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")],
    ),
    # These two have nothing that decides.
    "nearest centroid": Peer("NearestCentroid", lambda: [NearestCentroid()]),
    "naive Bayes": Peer("GaussianNB", lambda: [GaussianNB()]),
    # As many trees as ours; grown to the last patient, as usual, or to leaves of twenty.
    "forest": Peer(
        "ExtraTreesClassifier",
        lambda: _chosen(ExtraTreesClassifier(300, random_state=_SEED), min_samples_leaf=(1, 20)),
    ),
    # Of the usual depth 3 and rate; a fifth of the patients says after how many rounds it ends.
    "boosting": Peer(
        "GradientBoostingClassifier",
        lambda: [
            GradientBoostingClassifier(n_iter_no_change=10, validation_fraction=0.2, random_state=_SEED)
        ],
    ),
    # The near ones count more, as there.
    "soft neighbours": Peer(
        "KNeighborsClassifier",
        lambda: _chosen(KNeighborsClassifier(weights="distance"), n_neighbors=(10, 30, 100, 200)),
    ),
    "ridge": Peer("RidgeCV", lambda: [RidgeCV(np.logspace(-1, 4, 26))]),
    "LASSO": Peer(
        "LassoCV",
        lambda: [LassoCV(max_iter=_MORE_STEPS)],
        why="its penalty is a public multiple of what sampling and noise let through, one at every ε, "
        "and keeps fewer columns than predict best; folds would ask the patients again",
    ),
}
NO_PEER: Mapping[str, str] = dict.fromkeys(
    (
        "proportional odds",
        "proportional odds, 3 sums",
        "proportional odds, 1 sum",
        "20 columns kept, proportional odds",
    ),
    "scikit-learn has no model of ordered classes",
)


def compare_pooled(
    *,
    size: Size,
    populations: Callable[[], Sequence[Population]],
    kept: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Measured, ...]:
    """Every learner with a peer: ours, scikit-learn's, and the difference, pooled and without noise.

    Args:
        size: how much; the first ``MOST_POPULATIONS`` are taken.
        populations: drawn where a line is missing.
        kept: as for ``measure_learners``.
        progress: called with what is done.
    """
    settings, done, compared = compose_settings(), read_kept(kept, size), []
    for entry in ENTRIES:
        if entry.name not in PEERS:
            continue
        found = done.get(_line(entry.name))
        if found is None:
            found = _compare(entry, PEERS[entry.name], settings, populations()[:MOST_POPULATIONS])
            keep_line(kept, size, found)
        compared.append(found)
        if progress:
            progress(found.name)
    return tuple(compared)


def _line(name: str) -> str:
    return f"{name}, beside scikit-learn"


def _compare(
    entry: Entry, peer: Peer, settings: Settings, populations: Sequence[Population]
) -> Measured:
    found: dict[str, list[float]] = {OURS: [], PEER: [], "difference": []}
    for population in populations:
        pooled = join_columns(list(population.sites.values()))
        ours = measure_figure(entry, settings, None, [[pooled]], population.fresh)
        theirs = _peer_figure(entry, peer, settings, pooled, population.fresh)
        for arm, value in zip(found, (ours, theirs, ours - theirs), strict=True):
            found[arm].append(value)
    return Measured(
        name=_line(entry.name),
        figure="AUC" if entry.has_classes else "R²",
        arms={arm: [mean_with_error(values)] for arm, values in found.items()},
    )


def _peer_figure(
    entry: Entry, peer: Peer, settings: Settings, pooled: Columns, fresh: Columns
) -> float:
    """scikit-learn's figure on the same fresh patients."""
    if entry.has_classes:
        pooled, fresh = classes_of(pooled, settings), classes_of(fresh, settings)
    model = make_pipeline(VarianceThreshold(), StandardScaler(), *peer.make()).fit(
        pooled.columns, pooled.target
    )
    return score_output(entry, _output(entry, model, fresh).reshape(len(fresh), -1), fresh)


def _output(entry: Entry, model: BaseEstimator, fresh: Columns) -> Floats:
    """What a figure is measured on: probabilities, or of a number itself.

    Scores of one joint margin are compared within a patient, so that one score by itself ranks nobody:
    they are read as those of our own machine, whose margin is 1 too.
    """
    settings = read_settings(entry)
    if isinstance(settings, LinearSvmSettings):
        scores: Floats = model.decision_function(fresh.columns)
        return softmax(scores / settings.smoothing)
    method = model.predict_proba if entry.has_classes else model.predict
    return np.asarray(method(fresh.columns), dtype=np.float64)


def pooled_lines(compared: Sequence[Measured], size: Size) -> list[str]:
    """The section of the page: a row per learner, and why where ours lies far off."""
    rows = [(next(name for name in PEERS if _line(name) == found.name), found) for found in compared]
    far = [name for name, found in rows if is_far(found)]
    lines = [
        "## Without privacy, beside scikit-learn",
        "",
        "All training patients in one place, no noise; ours by the sums that a federation adds, "
        "scikit-learn's from the patients themselves, the setting that decides chosen by folds of them "
        f"(`server/experiments/pooled.py`). {min(MOST_POPULATIONS, size.populations)} of the "
        "populations above, scored on the same fresh patients; the difference is paired by population.",
        "",
        "| learner | figure | ours | scikit-learn's | difference | model there |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in rows:
        cells = " | ".join(
            f"{value:{'+' if arm == 'difference' else ''}.3f} ± {error:.3f}"
            for arm, [(value, error)] in found.arms.items()
        )
        lines.append(f"| {name} | {found.figure} | {cells} | {PEERS[name].words} |")
    told = f"{len(far)} of {len(rows)} lie more than {LARGEST_GAP:g} below or above scikit-learn's"
    lines += ["", told + (":" if far else "."), ""]
    lines += [f"- {name}: {PEERS[name].why}." for name in far] + [""] * bool(far)
    why = sorted(set(NO_PEER.values()))
    lines += [f"Not compared: {', '.join(names_of(each))}: {each}." for each in why]
    return [*lines, ""]


def names_of(why: str) -> list[str]:
    """Entries that are not compared for this reason."""
    return [name for name, each in NO_PEER.items() if each == why]


def is_far(found: Measured) -> bool:
    """Whether ours lies more than ``LARGEST_GAP`` below or above: a large win needs its reason too."""
    return abs(found.arms["difference"][0][0]) > LARGEST_GAP


def reasons_amiss(compared: Sequence[Measured]) -> list[str]:
    """Learners far off without a reason, or with one and not far off."""
    far = {found.name for found in compared if is_far(found)}
    return [name for name, peer in PEERS.items() if (_line(name) in far) != bool(peer.why)]
