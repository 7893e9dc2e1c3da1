"""Draws the fixed data of docs/references.md, once: ``python tests/practice/references/data.py``.

Rewriting data.json makes every stored answer one of other data; the certificates would say so.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
SEED, PATIENTS, OTHERS = 20261126, 240, 170


def scores(draw: np.random.Generator, n: int, apart: float) -> tuple[np.ndarray, np.ndarray]:
    """Who is ill, and a probability of it that exaggerates."""
    is_ill = draw.random(n) < 0.35
    logit = draw.normal(-0.7, 1.3, n) + apart * is_ill
    return is_ill, 1 / (1 + np.exp(-logit))


def main() -> None:
    """Write data.json."""
    draw = np.random.default_rng(SEED)
    is_ill, probability = scores(draw, PATIENTS, 1.4)
    other_ill, other_probability = scores(draw, OTHERS, 0.8)
    rival = np.round(probability + draw.normal(0, 0.2, PATIENTS), 1)  # with ties
    target = draw.normal(0.72, 0.12, PATIENTS)
    prediction = 0.72 + 0.8 * (target - 0.72) + draw.normal(0.01, 0.07, PATIENTS)
    graded = draw.choice(3, PATIENTS, p=[0.2, 0.45, 0.35])
    called = np.clip(graded + draw.choice([-1, 0, 1], PATIENTS, p=[0.15, 0.65, 0.2]), 0, 2)
    data = {
        "certificate": f"data.py, seed {SEED}, numpy {np.__version__}, 2026-11-26",
        "is_ill": is_ill.astype(int),
        "probability": probability,
        "rival": rival,
        "other_ill": other_ill.astype(int),
        "other_probability": other_probability,
        "bins": 64,
        "cut_bin": 24,
        "target": target,
        "prediction": prediction,
        "graded": graded,
        "called": called,
        "site_auc": np.round(draw.normal(0.8, 0.06, 8), 3),
        "site_variance": np.round(draw.uniform(0.0004, 0.002, 8), 6),
        "alike_auc": np.round(draw.normal(0.8, 0.005, 5), 4),
        "alike_variance": np.round(draw.uniform(0.0008, 0.002, 5), 6),
        "p_values": np.array([0.012, 0.2, 0.012, 0.0004, 0.9, 0.04, 0.009]),
    }
    plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in data.items()}
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in plain.items()]
    (HERE / "data.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
