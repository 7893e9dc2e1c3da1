"""What the ``lime`` package fits to masked scores, into lime_weights.json.

``python tests/practice/references/lime_weights.py 2026-11-27``, with the day. Needs lime and
scikit-learn; knows nothing of the project's code. Kernel and distance are those of
``LimeImageExplainer``.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from lime.lime_base import LimeBase
from sklearn.metrics import pairwise_distances

HERE = Path(__file__).resolve().parent
CELLS, MASKS = 16, 60


def main() -> None:
    """Fit and write."""
    generator = np.random.default_rng(20261127)
    masks = generator.integers(0, 2, (MASKS, CELLS))
    masks[0] = 1  # the whole film, as the package has it
    effect = generator.standard_normal(CELLS)
    # neither linear nor small: a product of two cells, and what no cell explains
    scores = np.round(masks @ effect + masks[:, 2] * masks[:, 5] + generator.random(MASKS), 6)

    def kernel(distances: np.ndarray) -> np.ndarray:
        return np.sqrt(np.exp(-(distances**2) / 0.25**2))

    distances = pairwise_distances(masks, masks[:1], metric="cosine").ravel()
    _, weights, r2, _ = LimeBase(kernel).explain_instance_with_data(
        masks, scores[:, None], distances, 0, CELLS, feature_selection="none"
    )
    by_cell = dict(weights)
    certificate = {
        "tool": ", ".join(f"{name} {version(name)}" for name in ("lime", "scikit-learn", "numpy")),
        "script": Path(__file__).name,
        "date": sys.argv[1],
    }
    answers = {
        "certificate": certificate,
        "masks": ["".join(map(str, mask)) for mask in masks.tolist()],
        "scores": scores.tolist(),
        "weights": [float(by_cell[cell]) for cell in range(CELLS)],
        "r2": float(r2),
    }
    (HERE / "lime_weights.json").write_text(json.dumps(answers, indent=1) + "\n")


if __name__ == "__main__":
    main()
