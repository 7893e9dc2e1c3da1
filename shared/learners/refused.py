"""What cannot be done with patient-level privacy, and what to use instead.

Each is refused by name, with a code of its own, before a plan is written. Imports errors only.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

from shared.errors import SettingsError

_STORED_NEIGHBOURS = SettingsError(
    "stored-neighbours",
    "nearest neighbours need the patients themselves, stored in the model and shown by its answers",
    hint="use learner=soft_neighbours: each class keeps one noised sum of its patients' features",
)
_KERNEL_MACHINE = SettingsError(
    "kernel-machine",
    "a kernel machine's support vectors are patients, stored in the model",
    hint="use learner=soft_neighbours, or linear scores: learner=proportional_odds",
)
_FITTED_TREES = SettingsError(
    "fitted-trees",
    "splits or bags fitted at a site depend on all of its patients at once, so that one patient may "
    "change every tree",
    hint="use learner=forest: its trees are drawn from the plan's seed, and one sum fills the leaves",
)
_SPLIT_SEARCH = SettingsError(
    "split-search",
    "a search for splits spends the budget on splits that are then not taken, and little is left",
    hint="use learner=forest: random splits that the plan's seed draws",
)
_COHORT_PERMUTATION = SettingsError(
    "cohort-permutation",
    "permuting a column inside a cohort couples patients: one of them may move the sum by 20 rows",
    hint="replace a patient's value by one of public donors, drawn by the plan's seed",
)
_COHORT_OVERSAMPLING = SettingsError(
    "cohort-oversampling",
    "synthetic or repeated minority patients are mixtures of patients, each of whom is counted often",
    hint="use learner=proportional_odds or naive_bayes, which take the classes' sizes in",
)
_COHORT_SCALER = SettingsError(
    "cohort-scaler",
    "means and SDs fitted on a cohort put every patient into every other patient's row",
    hint="columns are scaled by the schema's public reference; second_moments centres by a noised sum",
)
_COHORT_CLASS_WEIGHTS = SettingsError(
    "cohort-class-weights",
    "class weights counted on a cohort put every patient into every other patient's row",
    hint="take class weights from a published prevalence",
)
_COHORT_THRESHOLD = SettingsError(
    "cohort-threshold",
    "a threshold chosen on the cohort is an answer about its patients that nothing was charged for",
    hint="choose it on public patients (task.operating_point)",
)
_COHORT_STOPPING = SettingsError(
    "cohort-stopping",
    "stopping early, cross-validation or the best of several runs on a cohort asks it again, uncharged",
    hint="steps and rate come from a public schedule, and the last half of the states is averaged",
)

REFUSED: Mapping[str, SettingsError] = {
    "knn": _STORED_NEIGHBOURS,
    "nearest_neighbours": _STORED_NEIGHBOURS,
    "svm": _KERNEL_MACHINE,
    "kernel_svm": _KERNEL_MACHINE,
    "random_forest": _FITTED_TREES,
    "bagging": _FITTED_TREES,
    "decision_tree": _FITTED_TREES,
    "gradient_boosting": _SPLIT_SEARCH,
    "split_search": _SPLIT_SEARCH,
    "permutation_importance": _COHORT_PERMUTATION,
    "smote": _COHORT_OVERSAMPLING,
    "standard_scaler": _COHORT_SCALER,
    "class_weights": _COHORT_CLASS_WEIGHTS,
    "threshold_tuning": _COHORT_THRESHOLD,
    "early_stopping": _COHORT_STOPPING,
    "cross_validation": _COHORT_STOPPING,
    "best_of": _COHORT_STOPPING,
}


def refusal_of(name: str) -> SettingsError | None:
    """Why a learner or a habit of this name cannot be private, as a new error; None where it can."""
    refusal = REFUSED.get(name.strip().lower().replace("-", "_").replace(" ", "_"))
    return None if refusal is None else copy.copy(refusal)


def require_possible(name: str) -> None:
    """Refuse what cannot be done with patient-level privacy; anything else passes.

    Raises:
        SettingsError: the name is in ``REFUSED``; its code says why, its hint what to use.
    """
    refusal = refusal_of(name)
    if refusal is not None:
        raise refusal
