"""Patients whose films have masks of bone, and those whose films have none: counted, never guessed.

One cell of a row counts who is not assessed; such a patient has nothing else in the row. Imports
figures and intervals. Legend: n patients · m cells.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from shared.measures.counts import support_of
from shared.measures.figures import why_lacking
from shared.measures.scored import Bools
from shared.sums.contract import Floats
from shared.sums.estimate import NOT_ASSESSED, Estimate
from shared.sums.intervals import normal_quantile


def with_unassessed(rows: Floats, *, is_assessed: Bools, is_known: Bools, norm: float) -> Floats:
    """Rows [n, m + 1]: those of who is assessed, and in the last cell ``norm`` for each who is not.

    Args:
        rows: of everybody [n,m], within ``norm``.
        is_assessed: whether a patient's films have masks [n].
        is_known: whether a patient has a label [n]; others have rows of zeros.
        norm: of a row.
    """
    last = np.where(is_known & ~is_assessed, norm, 0.0)
    held = np.where((is_known & is_assessed)[:, None], rows, 0.0)
    return np.concatenate([held, last[:, None]], axis=1)


def read_assessed(
    n_assessed: float, n_others: float, *, sds: tuple[float, float], minimum_cell: int
) -> dict[str, Estimate]:
    """Both counts, with intervals; ``sds``: of the noise in each."""
    counts = (("assessed", n_assessed, sds[0]), ("not assessed", n_others, sds[1]))
    found: dict[str, Estimate] = {}
    for name, count, sd in counts:
        found |= support_of((name,), np.array([count]), sd, minimum_cell)
    return found


def why_unassessed(
    n_assessed: float, *, sd: float, minimum_cell: int, is_expected: bool
) -> Estimate | None:
    """Why so many assessed patients give no figure, or None when they do.

    Nobody is no class that came out small but a hospital without masks: a count that noise alone could
    have made says so, and never gives a figure.
    """
    if is_expected:
        return why_lacking(n_assessed, minimum_cell, noise_variance=sd**2, is_expected=True)
    if n_assessed < max(0.5, normal_quantile(0.95) * sd):
        return NOT_ASSESSED
    return why_lacking(n_assessed, minimum_cell)


def keep_unassessed(
    shown: Mapping[str, Estimate], found: Mapping[str, Estimate]
) -> dict[str, Estimate]:
    """What is shown, with what nobody was assessed for by its own word."""
    return {name: found[name] if found[name] == NOT_ASSESSED else each for name, each in shown.items()}
