"""Which figures of the product docs/references.md has, and how each is computed on the fixed data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from practice_follow_up import FOLLOWED, label_of, task_of
from practice_references import Data, Floats, Row
from practice_validation import rows_of_scores, spec_of_probabilities

from server.report.pooling import PooledEffect, pool_effects
from shared.exam.time_to_event import TimeToEventLabel
from shared.measure.exact.concordance import concordance
from shared.measure.exact.discrimination import compare_aucs, delong, logit_interval, measure_auc
from shared.measure.exact.regression import measure_regression
from shared.measure.table.classes import read_classes
from shared.measures.calibration import (
    PairSums,
    Recalibration,
    calibrate_regression,
    expected_calibration_error,
    recalibrate,
)
from shared.measures.curves import cells_of_cut, decision_curve, likelihood_ratios, roc_points
from shared.measures.differences import adjust_by_holm, difference_of_aucs
from shared.measures.figures import (
    auc_of,
    balanced_accuracy,
    kappa,
    macro_f1,
    quadratic_kappa,
    share_of,
)
from shared.measures.survival import Survival, SurvivalSettings
from shared.sums.estimate import Estimate

# Who died is as one who left.
ALONE = label_of(competing=[], censored=["alive", "death"])


def _ill(d: Data) -> NDArray[np.bool_]:
    return d["is_ill"] == 1


def _calibration_error(d: Data) -> float | None:
    """Of a hundred times the patients: of so few it would be mostly chance, and not shown."""
    ill, well, edges = _bins(d)
    found = expected_calibration_error(100 * ill, 100 * well, edges, cell_sd=0.0, minimum_cell=1)
    return found.value


def _bins(d: Data) -> tuple[Floats, Floats, Floats]:
    """Ill, well and edges of the bins of probability."""
    bins = int(d["bins"])
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.searchsorted(edges, d["probability"], side="right") - 1
    ill, well = (
        np.bincount(place[each], minlength=bins).astype(np.float64) for each in (_ill(d), ~_ill(d))
    )
    return ill, well, edges


def _cut(d: Data) -> Floats:
    ill, well, _ = _bins(d)
    return cells_of_cut(ill, well, place=int(d["cut_bin"]), cell_sd=0.0)[0]


def _confusion(d: Data) -> Floats:
    cells = np.zeros((3, 3))
    np.add.at(cells, (d["graded"], d["called"]), 1.0)
    return cells


def _share(cells: Floats, hit: NDArray[np.bool_], of: NDArray[np.bool_]) -> float | None:
    return share_of(cells, np.zeros_like(cells), hit, of, 1).value


def _predictive(d: Data, column: int) -> float | None:
    """The share of the ill among the called (0), or of the well among the others (1)."""
    of = np.zeros((2, 2), dtype=bool)
    of[:, column] = True
    return _share(_cut(d), of & np.eye(2, dtype=bool), of)


def _sensitivities(d: Data) -> list[float | None]:
    cells, found = _confusion(d), []
    for grade in range(3):
        of = np.zeros((3, 3), dtype=bool)
        of[grade] = True
        found.append(_share(cells, of & np.eye(3, dtype=bool), of))
    return found


def _brier(d: Data) -> float | None:
    spec = spec_of_probabilities("well", "ill", bins=64, error=1.0)
    table = rows_of_scores(spec, d["probability"], _ill(d)).sum(axis=0)
    n = d["probability"].size
    return read_classes(table, spec, noise_sd=0.0, minimum_cell=1, n_expected=n)["Brier"].value


def _variance(d: Data) -> float:
    return float(delong(d["probability"][None], _ill(d))[1][0, 0])


def _paired(d: Data) -> list[float]:
    found = compare_aucs(d["probability"], d["rival"], _ill(d))
    return [found.z, found.p]


def _unpaired(d: Data) -> list[float | None]:
    other_ill = d["other_ill"] == 1
    aucs, variance = delong(d["other_probability"][None], other_ill)
    found = difference_of_aucs(
        measure_auc(d["probability"], _ill(d)), _variance(d), float(aucs[0]), float(variance[0, 0])
    )
    gap = found.difference
    return [gap.value, found.z, found.p, gap.low, gap.high]


def _on_logits(auc: Floats, variance: Floats) -> PooledEffect:
    """Pooled on the logit scale, all but the variance between sites told as AUCs."""
    found = pool_effects(np.log(auc / (1 - auc)), variance / (auc * (1 - auc)) ** 2, confidence=0.95)
    ends = {name: value for name, value in vars(found).items() if name != "between_site_variance"}
    return replace(found, **{name: 1 / (1 + np.exp(-value)) for name, value in ends.items()})


def _pooled(figures: Callable[[PooledEffect], list[float | None]]) -> Callable[[Data], object]:
    """A figure of sites that differ, then of sites that do not."""

    def ours(d: Data) -> object:
        return [
            each
            for kind in ("site", "alike")
            for each in figures(_on_logits(d[f"{kind}_auc"], d[f"{kind}_variance"]))
        ]

    return ours


def _regression(*names: str) -> Callable[[Data], object]:
    def ours(d: Data) -> object:
        found = vars(measure_regression(d["target"], d["prediction"]))
        return [found["mse"] ** 0.5 if name == "rmse" else found[name] for name in names]

    return ours


def _line(d: Data) -> list[float | None]:
    centre = 0.7
    y, e = d["target"] - centre, d["prediction"] - d["target"]
    sums = PairSums(
        n=float(y.size),
        y=float(y.sum()),
        e=float(e.sum()),
        y_squared=float(y @ y),
        e_squared=float(e @ e),
        product=float(y @ e),
    )
    found = calibrate_regression(sums, np.zeros((6, 6)), centre=centre, minimum_cell=1)
    return [*_with_ends(found.slope), *_with_ends(found.intercept)]


def _recalibrated(d: Data) -> Recalibration:
    return recalibrate(*_bins(d), cell_sd=0.0, minimum_cell=1)


def _benefit(d: Data, side: str) -> list[float | None]:
    curve = decision_curve(*_bins(d), cell_sd=0.0, minimum_cell=1)
    return [getattr(each, side).value for each in curve]


def _ratio_ends(d: Data) -> list[float | None]:
    found = likelihood_ratios(_cut(d), np.zeros((2, 2)), minimum_cell=1)
    return [found.positive.low, found.positive.high, found.negative.low, found.negative.high]


def _ratios(d: Data) -> list[float | None]:
    found = likelihood_ratios(_cut(d), np.zeros((2, 2)), minimum_cell=1)
    return [found.positive.value, found.negative.value]


def _with_ends(found: Estimate) -> list[float | None]:
    return [found.value, found.low, found.high]


def _distinct_points(d: Data) -> Floats:
    """A bin without patients repeats a point, which scikit-learn leaves out."""
    ill, well, _ = _bins(d)
    points = roc_points(ill, well, minimum_cell=1)
    moved = np.append(True, (np.diff(points, axis=0) > 0).any(axis=1))
    return points[moved]


def _places(d: Data, label: TimeToEventLabel) -> Floats:
    """Class of the label of each follow-up."""
    names = [label.class_of(*pair) for pair in zip(d["years"], d["status"], strict=True)]
    return np.array([label.classes.index(str(name)) for name in names], dtype=np.float64)


def _c_index(label: TimeToEventLabel) -> Callable[[Data], object]:
    return lambda d: concordance(d["risk"][None], _places(d, label), label)[0]


def _came(label: TimeToEventLabel) -> Callable[[Data], object]:
    """The risk that came true."""
    measure = Survival.build(SurvivalSettings(kind="survival"), task_of(label))
    k = len(label.classes)
    return lambda d: measure.risk_that_came(
        np.bincount(_places(d, label).astype(int), minlength=k).astype(np.float64)
    )


def _by(tool: str) -> Callable[[str, str, str, Callable[[Data], object]], Row]:
    def row(answer: str, name: str, function: str, ours: Callable[[Data], object]) -> Row:
        return Row(name=name, answer=answer, tool=tool, function=function, ours=ours)

    return row


_r, _sk, _ll = _by("r"), _by("sklearn"), _by("lifelines")
ROWS: tuple[Row, ...] = (
    _r("auc", "AUC", "pROC::auc", lambda d: measure_auc(d["probability"], _ill(d))),
    _sk("auc", "AUC", "roc_auc_score", lambda d: measure_auc(d["probability"], _ill(d))),
    _r("delong_variance", "DeLong's variance", "pROC::var", _variance),
    _r("paired", "DeLong's paired test: z, p", "pROC::roc.test", _paired),
    _r("unpaired", "Difference of two independent AUCs: a − b, z, p, interval",
       "pROC::roc.test, pROC::var; normal p and interval by hand", _unpaired),
    _r("logit_interval", "Interval of an AUC on the logit scale", "pROC::var, qlogis by hand",
       lambda d: logit_interval(measure_auc(d["probability"], _ill(d)), _variance(d))),
    _sk("auc_of_bins", "AUC of 64 bins", "roc_auc_score of the bin",
        lambda d: auc_of(*_bins(d)[:2], (0.0, 0.0), 1).value),
    _sk("roc_points", "ROC points", "roc_curve of the bin", _distinct_points),
    _r("pooled_tau2", "REML variance between sites", "metafor::rma",
       _pooled(lambda found: [found.between_site_variance])),
    _r("pooled_mean", "Random-effects AUC", "metafor::rma", _pooled(lambda found: [found.value])),
    _r("pooled_interval", "Hartung–Knapp interval, never narrower than without it",
       'metafor::rma(test = "adhoc")', _pooled(lambda found: [found.low, found.high])),
    _r("pooled_prediction", "Prediction interval over the Q-profile of the variance between sites",
       "qchisq, uniroot, pnorm by hand",
       _pooled(lambda found: [found.prediction_low, found.prediction_high])),
    _r("r2", "R²", "by hand", _regression("r2")),
    _sk("r2", "R²", "r2_score", _regression("r2")),
    _r("mae", "MAE", "by hand", _regression("mae")),
    _sk("mae", "MAE", "mean_absolute_error", _regression("mae")),
    _r("rmse", "RMSE", "by hand", _regression("rmse")),
    _sk("rmse", "RMSE", "mean_squared_error", _regression("rmse")),
    _r("bland_altman", "Bland–Altman bias and limits of agreement", "mean, sd",
       _regression("bias", "limit_low", "limit_high")),
    _r("line", "Calibration of a number: slope and intercept with intervals", "lm, confint", _line),
    _r("calibration_slope", "Calibration slope of 64 bins, with interval", "glm",
       lambda d: _with_ends(_recalibrated(d).slope)),
    _r("calibration_intercept", "Calibration in the large of 64 bins, with interval",
       "glm with offset", lambda d: _with_ends(_recalibrated(d).intercept)),
    _sk("expected_calibration_error", "Expected calibration error of 64 bins joined to ten",
        "numpy by hand", _calibration_error),
    _sk("brier", "Brier score", "brier_score_loss", _brier),
    _sk("likelihood_ratios", "LR+ and LR−", "class_likelihood_ratios", _ratios),
    _r("likelihood_ratio_intervals", "Intervals of LR+ and LR−", "by hand", _ratio_ends),
    _r("net_benefit", "Net benefit of the model at 63 thresholds", "by hand",
       lambda d: _benefit(d, "model")),
    _r("net_benefit_of_all", "Net benefit of treating all at 63 thresholds", "by hand",
       lambda d: _benefit(d, "treat_all")),
    _sk("accuracy", "Accuracy", "accuracy_score",
        lambda d: _share(_confusion(d), np.eye(3, dtype=bool), np.ones((3, 3), dtype=bool))),
    _sk("sensitivity", "Sensitivity of three classes", "recall_score", _sensitivities),
    _sk("ppv", "PPV", "precision_score", lambda d: _predictive(d, 0)),
    _sk("npv", "NPV", "precision_score of the others", lambda d: _predictive(d, 1)),
    _sk("balanced_accuracy", "Balanced accuracy", "balanced_accuracy_score",
        lambda d: balanced_accuracy(_confusion(d))),
    _sk("macro_f1", "Macro F1", "f1_score", lambda d: macro_f1(_confusion(d))),
    _sk("kappa", "Cohen's κ", "cohen_kappa_score", lambda d: kappa(_confusion(d))),
    _sk("quadratic_kappa", "Quadratic κ", "cohen_kappa_score",
        lambda d: quadratic_kappa(_confusion(d))),
    _r("holm", "Holm's adjustment of 7 p-values", "p.adjust",
       lambda d: adjust_by_holm(d["p_values"].tolist())),
    _ll("c_of_one_event", "C-index of a time to event", "concordance_index", _c_index(ALONE)),
    _ll("c_beside_death", "C-index beside a competing event", "concordance_index", _c_index(FOLLOWED)),
    _ll("kaplan_meier", "Risk of a time to event by the horizon", "KaplanMeierFitter", _came(ALONE)),
)  # fmt: skip
