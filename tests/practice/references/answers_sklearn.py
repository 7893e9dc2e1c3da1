"""Answers of scikit-learn, and of numpy by hand, to the fixed data of docs/references.md.

``python tests/practice/references/answers_sklearn.py 2026-11-26``, with the day as argument. Knows
nothing of the project's code.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import sklearn
from sklearn import metrics

HERE = Path(__file__).resolve().parent


def expected_calibration_error(is_ill: np.ndarray, place: np.ndarray, bins: int) -> float:
    """Tenth by tenth: its share of patients times |share of the ill − mean middle of their bins|."""
    found, stated = 0.0, (place + 0.5) / bins
    for tenth in range(10):
        here = place * 10 // bins == tenth
        if here.any():
            found += here.mean() * abs(is_ill[here].mean() - stated[here].mean())
    return found


def main() -> None:
    """Write answers_sklearn.json."""
    raw = (HERE / "data.json").read_bytes()
    data = {k: np.array(v) if isinstance(v, list) else v for k, v in json.loads(raw).items()}
    is_ill, probability = data["is_ill"], data["probability"]
    place = np.floor(probability * data["bins"]).astype(int)
    is_called = place >= data["cut_bin"]
    true, called = data["graded"], data["called"]
    false_positive, sensitivity, _ = metrics.roc_curve(is_ill, place, drop_intermediate=False)
    ratios = metrics.class_likelihood_ratios(is_ill, is_called)
    squared_error = metrics.mean_squared_error(data["target"], data["prediction"])
    answers = {
        "auc": metrics.roc_auc_score(is_ill, probability),
        "auc_of_bins": metrics.roc_auc_score(is_ill, place),
        "roc_points": np.stack([false_positive, sensitivity], axis=1),
        "likelihood_ratios": np.array(ratios),
        "expected_calibration_error": expected_calibration_error(is_ill, place, data["bins"]),
        "brier": metrics.brier_score_loss(is_ill, probability),
        "accuracy": metrics.accuracy_score(true, called),
        "balanced_accuracy": metrics.balanced_accuracy_score(true, called),
        "macro_f1": metrics.f1_score(true, called, average="macro"),
        "kappa": metrics.cohen_kappa_score(true, called),
        "quadratic_kappa": metrics.cohen_kappa_score(true, called, weights="quadratic"),
        "sensitivity": metrics.recall_score(true, called, average=None),
        "ppv": metrics.precision_score(is_ill, is_called),
        "npv": metrics.precision_score(1 - is_ill, ~is_called),
        "r2": metrics.r2_score(data["target"], data["prediction"]),
        "mae": metrics.mean_absolute_error(data["target"], data["prediction"]),
        "rmse": float(np.sqrt(squared_error)),
    }
    certificate = {
        "tool": f"scikit-learn {sklearn.__version__}, numpy {np.__version__}",
        "script": Path(__file__).name,
        "date": sys.argv[1],
        "script_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        "data_sha256": hashlib.sha256(raw).hexdigest(),
    }
    plain = {name: np.asarray(each, dtype=float).ravel().tolist() for name, each in answers.items()}
    lines = ",\n".join(f'  "{name}": {json.dumps(values)}' for name, values in plain.items())
    text = f'{{\n "certificate": {json.dumps(certificate)},\n "answers": {{\n{lines}\n }}\n}}\n'
    (HERE / "answers_sklearn.json").write_text(text)


if __name__ == "__main__":
    main()
