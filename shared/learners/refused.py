"""What cannot be done with patient-level privacy, and what to use instead.

Each is refused by name, as a learner and as a setting that nobody knows, with a code of its own, before
a plan is written. Imports errors only.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping

from shared.errors import SettingsError

_STORED_NEIGHBOURS = SettingsError(
    "stored-neighbours",
    "nearest neighbours need the patients themselves, stored in the model and shown by its answers",
    hint="use learner=soft_neighbours: each class keeps one noised sum of its patients' features",
)
_KERNEL_MACHINE = SettingsError(
    "kernel-machine",
    "what a kernel machine keeps, support vectors or inducing points, are patients stored in the model",
    hint="use learner=soft_neighbours, or linear scores: learner=linear_svm or proportional_odds",
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
    hint="use learner=boosting: it adds trees whose splits the plan's seed draws, or learner=forest",
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
_PARTIAL_LIKELIHOOD = SettingsError(
    "partial-likelihood",
    "Cox's partial likelihood compares every event with all patients then at risk, so that one patient "
    "is a part of many others' terms",
    hint="use learner=proportional_hazards, or learner=gradient with task=survival: hazards of public "
    "intervals, of which each patient has a likelihood alone",
)

_SITE_STATISTICS = SettingsError(
    "site-statistics",
    "statistics of normalisation layers fitted at a site put every patient into every other's row",
    hint="use encoder=resnet_gn or a frozen encoder; weights of a hospital's own come by "
    "`osteofed-site personalise`, at a price of their own",
)

_WORDS: Mapping[SettingsError, str] = {
    _STORED_NEIGHBOURS: "knn k_nearest_neighbours nearest_neighbours n_neighbours k_neighbours "
    "radius_neighbours",
    _KERNEL_MACHINE: "svm svc svr nu_svc nu_svr one_class_svm kernel_svm rbf_svm "
    "support_vector_machine gaussian_process gaussian_processes kernel_ridge kernel_machine",
    _FITTED_TREES: "random_forest bagging bootstrap decision_tree extra_trees isolation_forest",
    _SPLIT_SEARCH: "gradient_boosting hist_gradient_boosting boosted_trees xgboost xgb "
    "lightgbm lgbm catboost adaboost gbm split_search best_split",
    _PARTIAL_LIKELIHOOD: "cox coxph cox_ph cox_regression cox_proportional_hazards cox_net deepsurv "
    "deep_surv partial_likelihood random_survival_forest",
    _COHORT_PERMUTATION: "permutation_importance permute_columns permutation",
    _COHORT_OVERSAMPLING: "smote adasyn oversampling oversample undersampling undersample "
    "resampling balanced_sampling class_balancing",
    _COHORT_SCALER: "scaler standard_scaler min_max_scaler robust_scaler fit_scaler standardise "
    "standardisation normalise normalisation z_score",
    _SITE_STATISTICS: "fedbn fed_bn silobn silo_bn fedap fed_ap adabn batch_norm_statistics "
    "batch_normalisation bn_statistics running_mean running_variance running_statistics "
    "local_batch_norm",
    _COHORT_CLASS_WEIGHTS: "class_weights balanced_class_weights positive_weight pos_weight",
    _COHORT_THRESHOLD: "threshold_tuning tune_threshold tuned_threshold fit_threshold "
    "decision_threshold optimal_threshold best_threshold optimise_threshold threshold_optimisation "
    "youden youden_index",
    _COHORT_STOPPING: "early_stopping early_stop cross_validation cross_validate cv cv_folds k_fold "
    "grid_search random_search randomised_search hyperparameter_search best_of best_of_n best_epoch "
    "restore_best_weights",
}
REFUSED: Mapping[str, SettingsError] = {
    word: refusal for refusal, words in _WORDS.items() for word in words.split()
}


def refusal_of(name: str) -> SettingsError | None:
    """Why a learner, a setting or a habit of this name cannot be private, as a new error.

    Args:
        name: in British or American spelling, one or several, its words apart or together, also as a
            class of scikit-learn is called (``KNeighborsClassifier``, ``sklearn.svm.SVC``) or with what
            counts it (``early_stopping_rounds``). None where nothing speaks against it.
    """
    refusal = _BY_LETTERS.get(_letters(name))
    return None if refusal is None else copy.copy(refusal)


# Endings that say of what kind a thing is, or how it is counted, not what it is.
_ENDING = re.compile(r"(?<=.)(classifier|regressor|cv|round|patience|s)+$")


def _letters(name: str) -> str:
    """The letters of a name's last part, without endings, in one spelling."""
    letters = _ENDING.sub("", re.sub(r"[\W_]", "", name.rpartition(".")[2].lower()))
    return re.sub(r"is(?=e|ation|ing)", "iz", letters).replace("neighbour", "neighbor")


_BY_LETTERS = {_letters(word): refusal for word, refusal in REFUSED.items()}


def require_possible(name: str) -> None:
    """Refuse what cannot be done with patient-level privacy; anything else passes.

    Raises:
        SettingsError: the name is in ``REFUSED``; its code says why, its hint what to use.
    """
    refusal = refusal_of(name)
    if refusal is not None:
        raise refusal
