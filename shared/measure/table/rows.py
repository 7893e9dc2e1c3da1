"""The one message of a validation: a table of bounded per-patient rows, summed over patients.

A site turns each patient into one row whose L2 norm is at most ``sensitivity(spec)``, sums the rows
and adds Gaussian noise of one standard deviation to every cell. Every figure of a report is
post-processing of that table (``reading``, ``classes``). Cells: ``spec``.

Rules for what is not finite, the same for every cohort and never flattering: without a label the row is
zero; a score that is not finite goes to the end bin that is wrong at the endpoint's cut, and is called
a class that the patient is not of; a prediction that is not finite has the largest error. Imports the
rest of the package and errors only.

Legend: n patients · o outputs · c classes · m cells.

Source: Brier 1950 (Mon Weather Rev 78:1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.errors import ProtocolError
from shared.measure.table.spec import MOMENT_WEIGHTS, TableSpec

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]


def contributions(spec: TableSpec, *, outputs: Floats, label: Floats) -> Floats:
    """One bounded row per patient.

    Args:
        spec: meaning of the cells.
        outputs: the predicted target in its unit, o = 1, or each class's probability.
        label: the target in its unit, or the class's place.

    Shapes: outputs [n,o], label [n] -> [n,m].

    Raises:
        ProtocolError: lengths differ, or the outputs are not those of the task.
    """
    if outputs.ndim != 2 or label.shape != (len(outputs),):
        raise ProtocolError(
            "table-shape",
            f"a table takes outputs and one label per patient, not {outputs.shape} and {label.shape}",
        )
    rows = np.zeros((label.size, spec.n_cells))
    place = spec.rule.class_of(label)
    known = np.flatnonzero(place >= 0)
    outputs, true = outputs[known], _standing(spec)[place[known]]
    if spec.ranking == "graded":
        _add_graded(rows, known, spec, outputs, true)
    else:
        _add_each(rows, known, spec, outputs, true)
    if "moments" in spec.parts:
        rows[known, spec.parts["moments"]] = _moments(spec, label[known], outputs[:, 0])
    if "confusion" in spec.parts:
        # no number is called what the patient is not
        wrong = np.where(true == 0, spec.n_classes - 1, 0)
        is_number = np.isfinite(outputs).all(axis=1)
        called = np.where(is_number, _standing(spec)[spec.rule.call(outputs)], wrong)
        cell = spec.parts["confusion"].start + true * spec.n_classes + called
        rows[known, cell] = spec.blocks.confusion
    if "error" in spec.parts:
        brier = _brier(outputs[:, spec.order], true)
        rows[known, spec.parts["error"].start] = spec.blocks.error * (2.0 * brier - 1.0)
    return rows


def graded_score(spec: TableSpec, outputs: Floats) -> Floats:
    """What one score grades: the value, or how far up the order the probabilities lie. [n,o] -> [n]."""
    if spec.rule.is_regression or spec.n_classes == 2:
        return spec.rule.score(outputs)
    # added class by class: a product of matrices may round a patient differently in other company
    score = np.zeros(len(outputs))
    with np.errstate(over="ignore", invalid="ignore"):
        for stands, place in enumerate(spec.order):
            score += outputs[:, place] * (1.0 - stands / (spec.n_classes - 1))
    return score


def _standing(spec: TableSpec) -> Indices:
    """Where each of the decision's classes stands in the table [c]."""
    return np.argsort(np.asarray(spec.order)).astype(np.intp)


def _add_graded(rows: Floats, known: Indices, spec: TableSpec, outputs: Floats, true: Indices) -> None:
    bins = _bins_of(spec, graded_score(spec, outputs), is_suspect=true == 0)
    rows[known, true * spec.bins + bins] = spec.cell_weight


def _add_each(rows: Floats, known: Indices, spec: TableSpec, outputs: Floats, true: Indices) -> None:
    for stands, place in enumerate(spec.order):
        is_it = true == stands
        bins = _bins_of(spec, outputs[:, place], is_suspect=is_it)
        rows[known, (2 * stands + is_it) * spec.bins + bins] = spec.cell_weight


def _bins_of(spec: TableSpec, score: Floats, *, is_suspect: Bools) -> Indices:
    # a score on an edge falls on the positive side of it
    side = "left" if spec.positive_is_low else "right"
    bins: Indices = np.searchsorted(spec.inner_edges, score, side=side)  # type: ignore[call-overload]
    most = 0 if spec.positive_is_low else spec.bins - 1
    worst = np.where(is_suspect, spec.bins - 1 - most, most)
    return np.where(np.isfinite(score), bins, worst)


def _moments(spec: TableSpec, target: Floats, prediction: Floats) -> Floats:
    centre, half = (spec.target_low + spec.target_high) / 2, (spec.target_high - spec.target_low) / 2
    with np.errstate(invalid="ignore", over="ignore"):
        u = np.clip(np.nan_to_num((target - centre) / half), -1.0, 1.0)
        error = np.clip((prediction - target) / spec.error_high, -1.0, 1.0)
    v = np.where(np.isfinite(prediction), error, 1.0)
    v = np.nan_to_num(v, nan=1.0)
    columns = [np.ones_like(u), u, 2 * u**2 - 1, v, 2 * np.abs(v) - 1, 2 * v**2 - 1, u * v]
    weights = spec.blocks.moments * np.array(list(MOMENT_WEIGHTS.values()))
    moments: Floats = np.stack(columns, axis=1) * weights
    return moments


def _brier(probabilities: Floats, true: Indices) -> Floats:
    """Half the squared distance from what is true, in [0, 1]. [n,c], [n] -> [n]."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = (probabilities - (true[:, None] == np.arange(probabilities.shape[1]))) ** 2
        half = squares.sum(axis=1) / 2.0
    found: Floats = np.clip(np.nan_to_num(half, nan=1.0, posinf=1.0), 0.0, 1.0)
    return found


def pool_tables(tables: Sequence[tuple[Floats, float]]) -> tuple[Floats, float]:
    """Sum of (table, noise_sd) pairs in any order; independent noise adds in quadrature.

    Raises:
        ProtocolError: there is no table, or they differ in length.
    """
    if not tables or len({table.shape for table, _ in tables}) != 1:
        raise ProtocolError(
            "table-shape", f"tables to pool must be of one shape, not {[t.shape for t, _ in tables]}"
        )
    # fsum is exact, so the order of the sites cannot matter
    cells = np.array([math.fsum(column) for column in zip(*(t for t, _ in tables), strict=True)])
    return cells, math.sqrt(math.fsum(sd**2 for _, sd in tables))
