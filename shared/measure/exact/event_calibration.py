"""How many had each event by each edge, and how many were foretold, where the patients are at hand.

Observed is the cumulative incidence, foretold the mean of the patients' own risks. Bootstraps draw
patients, so that both, and their difference, are of the same draws. Imports cumulative incidence, the
label and errors.

Source: Efron & Tibshirani 1993 for the bootstrap.

Legend: b samples · n patients · r causes · k intervals · q classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.errors import ProtocolError
from shared.exam.time_to_event import TimeToEventLabel
from shared.measures.incidence import incidence

Floats = NDArray[np.float64]


def bootstrap_calibration(
    outputs: Floats,
    place: Floats,
    label: TimeToEventLabel,
    *,
    replicates: int,
    generator: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Observed, foretold and observed − foretold [3,r,k], and the same of replicates [b,3,r,k].

    Args:
        outputs: likelihood of each class, of each patient.
        place: class of the label, of each.
        label: whose classes these are.
        replicates: of the bootstrap.
        generator: which draws them; no protective noise.

    Shapes: outputs [n,q], place [n].

    Raises:
        ProtocolError: there is nobody.
    """
    n, k, r = place.size, label.n_intervals, len(label.causes)
    if not n:
        raise ProtocolError(
            "no-patients",
            "a calibration needs at least one patient",
            hint="report it as not applicable",
        )
    own = np.zeros((n, len(label.classes)))
    own[np.arange(n), place.astype(np.intp)] = 1.0
    risks = outputs[:, : r * k].reshape(n, r, k).cumsum(axis=2)
    draws = generator.multinomial(n, np.full(n, 1.0 / n), size=replicates)
    weights = np.vstack([np.ones(n), draws])  # [1 + b,n]
    observed = incidence(weights @ own, label)
    foretold = (weights @ risks.reshape(n, r * k) / n).reshape(-1, r, k)
    found = np.stack([observed, foretold, observed - foretold], axis=1)
    return found[0], found[1:]
