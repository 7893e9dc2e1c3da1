"""Patients in a table's cells: histograms, confusion, counts, each with the noise in it.

Noisy counts are never clipped at 0. Imports the spec only. Legend: c classes · b bins · m cells.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from shared.measure.table.spec import MOMENT_WEIGHTS, TableSpec

Floats = NDArray[np.float64]


def graded_histograms(table: Floats, spec: TableSpec) -> Floats:
    """Patients by class and bin of the one score. [m] -> [c,b]."""
    return table[spec.parts["ranking"]].reshape(spec.n_classes, spec.bins) / spec.cell_weight


def each_histograms(table: Floats, spec: TableSpec) -> Floats:
    """For each class: patients who are not of it, and who are, by bin of its score. [m] -> [c,2,b]."""
    return table[spec.parts["ranking"]].reshape(spec.n_classes, 2, spec.bins) / spec.cell_weight


def score_histograms(table: Floats, spec: TableSpec) -> tuple[Floats, Floats]:
    """Patients with the endpoint, and without it, by bin of the score. [m] -> twice [b]."""
    if spec.ranking == "each":
        others, own = each_histograms(table, spec)[0]
        return own, others
    by_class = graded_histograms(table, spec)
    return by_class[0], by_class[1:].sum(axis=0)


def histogram_sds(spec: TableSpec, *, noise_sd: float) -> tuple[float, float]:
    """SD of the noise in a bin of positives, and in one of negatives."""
    cell_sd = noise_sd / spec.cell_weight
    n_others = 1 if spec.ranking == "each" else spec.n_classes - 1
    return cell_sd, cell_sd * math.sqrt(n_others)


def by_suspicion(histogram: Floats, spec: TableSpec) -> Floats:
    """A histogram from the least to the most suspicious score. [..., b] -> [..., b]."""
    return histogram[..., ::-1] if spec.positive_is_low else histogram


def confusion_cells(table: Floats, spec: TableSpec, *, noise_sd: float) -> tuple[Floats, Floats] | None:
    """Patients by true and called class, and the noise variance of each; None where no block has it.

    Shapes: [m] -> [c,c], [c,c].
    """
    c = spec.n_classes
    if "confusion" in spec.parts:
        weight = spec.blocks.confusion
        cells = table[spec.parts["confusion"]].reshape(c, c) / weight
        return cells, np.full((c, c), (noise_sd / weight) ** 2)
    if spec.ranking == "each" or not spec.cuts:
        return None
    by_class = by_suspicion(graded_histograms(table, spec), spec)[:, ::-1]  # most suspicious first
    ends = spec.cut_bins
    if not spec.positive_is_low:
        ends = tuple(spec.bins - below for below in reversed(ends))
    parts = np.split(np.arange(spec.bins), ends)
    cells = np.stack([by_class[:, part].sum(axis=1) for part in parts], axis=1)
    cell_sd = noise_sd / spec.cell_weight
    return cells, np.tile([cell_sd**2 * len(part) for part in parts], (c, 1))


def endpoint_calls(table: Floats, spec: TableSpec, *, noise_sd: float) -> tuple[Floats, Floats] | None:
    """Patients with and without the endpoint by whether they are called, and their noise variances.

    Shapes: [m] -> [2,2], [2,2]; None where neither a cut of the score nor a confusion says it.
    """
    found = confusion_cells(table, spec, noise_sd=noise_sd)
    if found is not None:
        cells, variance = (_endpoint_or_not(part) for part in found)
        return cells, variance
    if not spec.cuts:
        return None
    histograms = np.stack([by_suspicion(each, spec) for each in score_histograms(table, spec)])
    n_below = spec.cut_bins[0]
    cells = np.stack([histograms[:, n_below:].sum(axis=1), histograms[:, :n_below].sum(axis=1)], axis=1)
    squared = np.square(histogram_sds(spec, noise_sd=noise_sd))
    return cells, np.outer(squared, [spec.bins - n_below, n_below])


def _endpoint_or_not(cells: Floats) -> Floats:
    """[c,c] -> [2,2], the classes but the first added up."""
    rows = np.stack([cells[0], cells[1:].sum(axis=0)])
    return np.stack([rows[:, 0], rows[:, 1:].sum(axis=1)], axis=1)


def count_patients(table: Floats, spec: TableSpec, *, noise_sd: float) -> tuple[float, float]:
    """Patients and noise SD: every block counts them; weighted by their precision."""
    # each block: its sum over a patient's own, and the precision of that sum in units of noise_sd
    counts = [
        (float(table[cells].sum()) / own, own**2 / (cells.stop - cells.start))
        for cells, own in _counting_cells(spec)
    ]
    precision = sum(each for _, each in counts)
    return sum(n * each for n, each in counts) / precision, noise_sd / math.sqrt(precision)


def count_classes(table: Floats, spec: TableSpec, *, noise_sd: float) -> tuple[Floats, float]:
    """Patients of each class, and the noise SD of one of these: they add up to ``count_patients``.

    What the ranking counts of all classes is less certain than that, and is drawn to it, by as much in
    each class. Shapes: [m] -> [c].
    """
    own = _own_cells(spec)  # [c, m]
    n_patients, _ = count_patients(table, spec, noise_sd=noise_sd)
    counts = np.array([table[cells].sum() for cells in own]) / spec.cell_weight
    drawn: Floats = counts + (n_patients - counts.sum()) / spec.n_classes
    everybody, blocks = np.zeros(spec.n_cells), _counting_cells(spec)
    precision = sum(weight**2 / (cells.stop - cells.start) for cells, weight in blocks)
    for cells, weight in blocks:
        everybody[cells] = weight / (cells.stop - cells.start) / precision
    first = own[0] / spec.cell_weight
    first = first + (everybody - own.sum(axis=0) / spec.cell_weight) / spec.n_classes
    return drawn, noise_sd * float(np.linalg.norm(first))


def _counting_cells(spec: TableSpec) -> list[tuple[slice, float]]:
    """The cells of each block that count patients, and what one patient's add up to."""
    found = []
    for name, part in spec.parts.items():
        if name == "ranking":
            found.append((part, spec.cell_weight * (spec.n_classes if spec.ranking == "each" else 1)))
        elif name == "confusion":
            found.append((part, spec.blocks.confusion))
        elif name == "moments":
            first = slice(part.start, part.start + 1)
            found.append((first, spec.blocks.moments * MOMENT_WEIGHTS["count"]))
    return found


def _own_cells(spec: TableSpec) -> NDArray[np.bool_]:
    """Which cells of the ranking are of the patients of each class. Shape: [c, m]."""
    c, ranking = spec.n_classes, spec.parts["ranking"]
    is_own = np.zeros((c, spec.n_cells), dtype=bool)
    by_class = np.arange(spec.n_cells)[ranking].reshape(c, -1, spec.bins)[:, -1]  # [c, b]
    is_own[np.arange(c)[:, None], by_class] = True
    return is_own
