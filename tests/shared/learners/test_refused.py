"""What cannot be done privately is refused by name, each with its code."""

from __future__ import annotations

import pytest

from shared.errors import SettingsError
from shared.learners.refused import REFUSED, refusal_of, require_possible
from shared.learners.table import LEARNERS

ASKED = {
    "knn": "settings.stored-neighbours",
    "Nearest neighbours": "settings.stored-neighbours",
    "kernel-svm": "settings.kernel-machine",
    "random_forest": "settings.fitted-trees",
    "bagging": "settings.fitted-trees",
    "split_search": "settings.split-search",
    "permutation_importance": "settings.cohort-permutation",
    "SMOTE": "settings.cohort-oversampling",
    "standard_scaler": "settings.cohort-scaler",
    "class_weights": "settings.cohort-class-weights",
    "threshold_tuning": "settings.cohort-threshold",
    "early_stopping": "settings.cohort-stopping",
    "best_of": "settings.cohort-stopping",
    "XGBoost": "settings.split-search",
    "light-gbm": "settings.split-search",
    "catboost": "settings.split-search",
    "AdaBoost": "settings.split-search",
    "Gaussian processes": "settings.kernel-machine",
    "nearest neighbor": "settings.stored-neighbours",
    "k-nearest-neighbors": "settings.stored-neighbours",
    "bootstrap": "settings.fitted-trees",
    "scaler": "settings.cohort-scaler",
    "standardize": "settings.cohort-scaler",
    "Standardisation": "settings.cohort-scaler",
    "class_weight": "settings.cohort-class-weights",
    "classWeights": "settings.cohort-class-weights",
    "tune_threshold": "settings.cohort-threshold",
    "optimize_thresholds": "settings.cohort-threshold",
    "earlystopping": "settings.cohort-stopping",
    "k-fold": "settings.cohort-stopping",
    "KNeighborsClassifier": "settings.stored-neighbours",
    "KNeighborsRegressor": "settings.stored-neighbours",
    "sklearn.neighbors.RadiusNeighborsClassifier": "settings.stored-neighbours",
    "sklearn.svm.SVC": "settings.kernel-machine",
    "NuSVC": "settings.kernel-machine",
    "GaussianProcessClassifier": "settings.kernel-machine",
    "RandomForestClassifier": "settings.fitted-trees",
    "ExtraTreesClassifier": "settings.fitted-trees",
    "DecisionTreeClassifier": "settings.fitted-trees",
    "GradientBoostingClassifier": "settings.split-search",
    "HistGradientBoostingRegressor": "settings.split-search",
    "XGBClassifier": "settings.split-search",
    "LGBMClassifier": "settings.split-search",
    "StandardScaler": "settings.cohort-scaler",
    "GridSearchCV": "settings.cohort-stopping",
    "RandomizedSearchCV": "settings.cohort-stopping",
    "early-stopping-rounds": "settings.cohort-stopping",
    "FedBN": "settings.site-statistics",
    "SiloBN": "settings.site-statistics",
    "batch_norm_statistics": "settings.site-statistics",
    "early_stopping_patience": "settings.cohort-stopping",
    "decision_threshold": "settings.cohort-threshold",
    "TunedThresholdClassifierCV": "settings.cohort-threshold",
}


@pytest.mark.parametrize(("name", "code"), ASKED.items())
def test_it_is_refused_with_a_code_and_what_to_use_instead(name: str, code: str) -> None:
    with pytest.raises(SettingsError) as error:
        require_possible(name)
    assert error.value.code == code
    assert error.value.hint


def test_a_refusal_is_a_new_error_each_time() -> None:
    caught = []
    for _ in range(2):
        with pytest.raises(SettingsError) as error:
            require_possible("knn")
        caught.append(error.value)
    assert caught[0] is not caught[1]
    assert REFUSED["knn"].__traceback__ is None


@pytest.mark.parametrize("word", REFUSED)
def test_every_word_is_found_however_it_is_written(word: str) -> None:
    american = word.replace("neighbour", "neighbor").replace("isation", "ization").replace("ise", "ize")
    for written in (word, american, word.upper(), word.replace("_", "-"), word.replace("_", "")):
        found = refusal_of(written)
        assert found is not None
        assert str(found) == str(REFUSED[word])
        assert found.hint


def test_a_refusal_names_a_code_of_its_own() -> None:
    assert len({error.code for error in REFUSED.values()}) == 12


@pytest.mark.parametrize("name", ["Classifier", "rounds", "LogisticRegressionCV", "MLPClassifier"])
def test_an_ending_alone_refuses_nothing(name: str) -> None:
    assert refusal_of(name) is None


@pytest.mark.parametrize("name", LEARNERS)
def test_what_there_is_passes(name: str) -> None:
    require_possible(name)
    assert refusal_of(name) is None
