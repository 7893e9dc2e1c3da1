"""Time of the patient bootstrap beside scikit-learn's loop, and of DeLong beside the pair matrix.

``make bench-measures``, or ``python tests/bench/measures.py`` from the repository's root, on one
thread; writes docs/data/bench_measures.json, of which docs/references.md has a table. Before a ratio is
kept, both ways must have given the same answers; each way's fastest repeat counts.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
T = TypeVar("T")
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
SAME = 1e-10
DATA = ROOT / "docs" / "data" / "bench_measures.json"


def draw(n: int) -> tuple[Floats, Bools]:
    """Two scores [2, n] of n exams, a fifth of them positive; the second has ties."""
    generator = np.random.default_rng(1)
    is_positive = generator.random(n) < 0.2
    scores = generator.standard_normal((2, n)) + is_positive
    scores[1] = np.round(scores[1], 1)
    return scores, is_positive


def loop_of_sklearn(score: Floats, is_positive: Bools, replicates: int) -> Floats:
    """The AUC of each replicate by ``roc_auc_score``, exams drawn as ``bootstrap_auc`` draws them."""
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(2)
    draws = (generator.integers(0, score.size, size=score.size) for _ in range(replicates))
    return np.array([roc_auc_score(is_positive[d], score[d]) for d in draws])


def pair_matrix(scores: Floats, is_positive: Bools) -> tuple[Floats, Floats]:
    """DeLong by its definition, every positive against every negative."""
    wins = [np.sign(s[is_positive][:, None] - s[~is_positive][None]) / 2 + 0.5 for s in scores]
    rows = np.array([each.mean(axis=1) for each in wins])
    columns = np.array([each.mean(axis=0) for each in wins])
    return rows.mean(axis=1), np.cov(rows) / rows.shape[1] + np.cov(columns) / columns.shape[1]


def fastest(way: Callable[[], T], repeats: int) -> tuple[T, float]:
    """Its answer, and the seconds of its fastest repeat."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        answer = way()
        seconds.append(time.perf_counter() - start)
    return answer, min(seconds)


def compared(name: str, other: str, ours: float, theirs: float, apart: float) -> dict[str, object]:
    """One row, said; ends the run when the answers differ."""
    if not apart <= SAME:
        raise SystemExit(f"{name}: answers differ by {apart:.1e}")
    sys.stdout.write(
        f"{name:42} ours {1e3 * ours:9.2f} ms  other {1e3 * theirs:10.2f} ms  "
        f"ratio {theirs / ours:6.1f}  differ by {apart:.0e}\n"
    )
    return {"what": name, "other": other, "ours_s": ours, "other_s": theirs, "differ_by": apart}


def main() -> None:
    """Measure, say and keep both ratios."""
    from shared.measure.exact.discrimination import bootstrap_auc, delong

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--exams", type=int, default=10_000)
    parser.add_argument("--replicates", type=int, default=2000)
    asked = parser.parse_args()
    scores, is_positive = draw(asked.exams)

    def bootstrap() -> Floats:
        return bootstrap_auc(
            scores[0],
            is_positive,
            np.arange(asked.exams),
            replicates=asked.replicates,
            generator=np.random.default_rng(2),
        )

    found, ours = fastest(bootstrap, 5)
    looped, theirs = fastest(lambda: loop_of_sklearn(scores[0], is_positive, asked.replicates), 1)
    name = f"bootstrap, {asked.replicates} replicates of {asked.exams} exams"
    rows = [compared(name, "scikit-learn's loop", ours, theirs, float(np.abs(found - looped).max()))]
    (aucs, covariance), ours = fastest(lambda: delong(scores, is_positive), 20)
    (pair_aucs, pair_covariance), theirs = fastest(lambda: pair_matrix(scores, is_positive), 3)
    apart = max(np.abs(aucs - pair_aucs).max(), np.abs(covariance - pair_covariance).max())
    name = f"DeLong, two scores of {asked.exams} exams"
    rows.append(compared(name, "the pair matrix", ours, theirs, float(apart)))
    DATA.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
