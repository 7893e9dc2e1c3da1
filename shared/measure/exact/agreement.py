"""How far called classes agree with true ones, exact: F1 and Cohen's κ, each patient's part in them.

Imports errors only.

Source: Cohen 1960 (Educ Psychol Meas 20:37) for κ, Fleiss, Cohen & Everitt 1969 (Psychol Bull 72:323)
for its variance, of which the parts here are the first-order terms; F1 is a ratio of two means, and so
are its parts.

Legend: m models · n patients · c classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.errors import ProtocolError

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


def f1_influence(called: Indices, true: Indices, classes: Sequence[int]) -> tuple[Floats, Floats]:
    """The mean F1 of some classes by each model [m], and each patient's part in it [m,n].

    The squares of the parts add up to its variance; those of two models, subtracted, to that of the
    difference.

    Args:
        called: places of the classes that each model calls, of the same patients.
        true: places of the true classes.
        classes: whose F1 is averaged.

    Shapes: called [m,n], true [n].

    Raises:
        ProtocolError: nobody is of one of the classes and nobody is called so.
    """
    values, parts = np.zeros(len(called)), np.zeros(called.shape)
    for place in classes:
        is_true, is_called = true == place, called == place
        hit, either = 2.0 * (is_true & is_called), is_true * 1.0 + is_called  # [m,n]
        size = either.sum(axis=1, keepdims=True)
        if not size.all():
            raise ProtocolError(
                "empty-class",
                f"F1 of class {place} needs somebody who is in it or is called so",
                hint="report it as not applicable",
            )
        f1 = hit.sum(axis=1, keepdims=True) / size
        values += f1[:, 0] / len(classes)
        parts += (hit - f1 * either) / size / len(classes)
    return values, parts


def kappa_influence(called: Indices, true: Indices, n_classes: int) -> tuple[Floats, Floats]:
    """Cohen's κ of each model [m], and each patient's part in it [m,n], as ``f1_influence``.

    Shapes: called [m,n], true [n].

    Raises:
        ProtocolError: there is nobody, or chance alone would agree in everybody.
    """
    classes, n = np.arange(n_classes), max(true.size, 1)
    of_true = (true == classes[:, None]).sum(axis=1) / n  # [c]
    of_called = (called[:, None] == classes[:, None]).sum(axis=2) / n  # [m,c]
    chance = (of_called @ of_true)[:, None]  # [m,1]
    if not true.size or (chance == 1.0).any():
        raise ProtocolError(
            "no-agreement",
            "Cohen's kappa needs patients of more than one class, true or called",
            hint="report it as not applicable",
        )
    agrees = (called == true) * 1.0  # [m,n]
    agreement = agrees.mean(axis=1, keepdims=True)
    kappa = (agreement - chance) / (1.0 - chance)
    # how much chance alone would agree follows from both margins, in which a patient stands once each
    of_chance = np.take_along_axis(of_called, np.broadcast_to(true, called.shape), axis=1)
    of_chance = of_chance + of_true[called] - 2.0 * chance
    parts = (agrees - agreement - (1.0 - kappa) * of_chance) / (1.0 - chance) / true.size
    return kappa[:, 0], parts
