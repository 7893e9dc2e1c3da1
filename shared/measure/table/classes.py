"""What a table says beside ``Measures``: post-processing of the same cells.

Of each class against the rest, or of the severer against the milder where one score grades them; of who
is called what; of calibration. Under noise a figure is shown where it was expected to say
something, whatever came out. Imports the rest of the package, figures and intervals.
Legend: c classes · b bins · m cells.

Source: Hanley & McNeil 1982 (Radiology 143:29); Cohen 1968 (Psychol Bull 70:213) for the weighted κ;
Brier 1950 (Mon Weather Rev 78:1).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from shared.measure.table.cells import (
    by_suspicion,
    confusion_cells,
    count_classes,
    count_patients,
    each_histograms,
    graded_histograms,
)
from shared.measure.table.endpoint import endpoint_figures
from shared.measure.table.expected import BOTH_OF_CUT, expect, expected_table
from shared.measure.table.spec import TableSpec
from shared.measures.counts import support_of
from shared.measures.figures import (
    ABOVE_NOISE,
    COMPOSED,
    auc_of,
    balanced_accuracy,
    bounded,
    kappa,
    macro_f1,
    mean_of,
    quadratic_kappa,
    share_of,
    smooth_figure,
    worth_showing,
)
from shared.sums.estimate import SUPPRESSED, TOO_NOISY, Estimate
from shared.sums.intervals import normal_quantile

Floats = NDArray[np.float64]


def read_classes(
    table: Floats, spec: TableSpec, *, noise_sd: float, minimum_cell: int, n_expected: float
) -> dict[str, Estimate]:
    """Figures by name.

    Args:
        table: of one site, or pooled [m].
        spec: meaning of the cells.
        noise_sd: of every cell; 0: exact.
        minimum_cell: fewest patients from whom a figure is shown.
        n_expected: patients by declared sizes; under noise it decides what is worth showing.
    """
    found = _figures(table, spec, noise_sd=noise_sd, minimum_cell=0 if noise_sd else minimum_cell)
    if not noise_sd:
        return found
    expected = expect_classes(spec, noise_sd=noise_sd, minimum_cell=minimum_cell, n_expected=n_expected)
    return worth_showing(found, expected)


def expect_classes(
    spec: TableSpec, *, noise_sd: float, minimum_cell: int, n_expected: float
) -> dict[str, Estimate]:
    """The same figures of expected patients; arguments as of ``read_classes``.

    What is composed of all classes is too noisy where the endpoint's own shares, in ``Measures``, are.
    """
    found = _figures(
        expected_table(spec, n_patients=n_expected),
        spec,
        noise_sd=noise_sd,
        minimum_cell=minimum_cell,
        is_expected=True,
    )
    of_endpoint = expect(spec, n_patients=n_expected, noise_sd=noise_sd, minimum_cell=minimum_cell)
    if noise_sd and not of_endpoint.shown >= BOTH_OF_CUT:
        found |= dict.fromkeys(COMPOSED & found.keys(), TOO_NOISY)
    return found


def _figures(
    table: Floats, spec: TableSpec, *, noise_sd: float, minimum_cell: int, is_expected: bool = False
) -> dict[str, Estimate]:
    found: dict[str, Estimate] = {}
    if spec.n_classes > 2:
        found |= _ranked(
            table, spec, noise_sd=noise_sd, minimum_cell=minimum_cell, is_expected=is_expected
        )
    confusion = confusion_cells(table, spec, noise_sd=noise_sd)
    if confusion is not None:
        found |= _called(spec, *confusion, minimum_cell=minimum_cell, is_expected=is_expected)
    above_noise = ABOVE_NOISE if is_expected else 1.0
    found |= endpoint_figures(
        table, spec, noise_sd=noise_sd, minimum_cell=minimum_cell, above_noise=above_noise
    )
    if "error" in spec.parts:
        found["Brier"] = _brier(table, spec, noise_sd=noise_sd, minimum_cell=minimum_cell)
    return found


def _ranked(
    table: Floats, spec: TableSpec, *, noise_sd: float, minimum_cell: int, is_expected: bool
) -> dict[str, Estimate]:
    """How many are of each class, and how the score, or each class's own, ranks them."""
    cell_sd, c = noise_sd / spec.cell_weight, spec.n_classes
    n_patients, _ = count_patients(table, spec, noise_sd=noise_sd)
    counts = count_classes(table, spec, noise_sd=noise_sd)
    found = support_of(spec.classes, *counts, minimum_cell, total=n_patients)
    if spec.ranking == "graded":
        bins = by_suspicion(graded_histograms(table, spec), spec)
        for place in range(c - 1):
            ill, well = bins[: place + 1].sum(axis=0), bins[place + 1 :].sum(axis=0)
            sds = cell_sd * math.sqrt(place + 1), cell_sd * math.sqrt(c - 1 - place)
            name = spec.classes[place] + (" or worse" if place else "")
            found[f"AUC, {name}"] = auc_of(ill, well, sds, minimum_cell, is_expected=is_expected)
        found.pop(f"AUC, {spec.classes[0]}")  # in ``Measures``
        return found
    pairs = each_histograms(table, spec)
    aucs = {
        f"AUC, {name}": auc_of(own, others, (cell_sd, cell_sd), minimum_cell, is_expected=is_expected)
        for name, (others, own) in zip(spec.classes, pairs, strict=True)
    }
    macro = mean_of(list(aucs.values()))
    aucs.pop(f"AUC, {spec.classes[0]}")  # in ``Measures``
    return found | aucs | {"macro AUC": macro}


def _called(
    spec: TableSpec, confusion: Floats, variance: Floats, *, minimum_cell: int, is_expected: bool
) -> dict[str, Estimate]:
    """Of true × called patients [c,c] and the noise variance of each cell."""
    found: dict[str, Estimate] = {}
    everybody = np.ones_like(confusion, dtype=bool)
    for name, group in _groups(spec):
        # the endpoint's own sensitivity and specificity are in ``Measures``
        words = ("PPV", "NPV") if group == [0] else ("sensitivity", "specificity", "PPV", "NPV")
        true, called = np.zeros_like(everybody), np.zeros_like(everybody)
        true[group], called[:, group] = True, True
        shares = {
            "sensitivity": (true & called, true),
            "specificity": (~true & ~called, ~true),
            "PPV": (true & called, called),
            "NPV": (~true & ~called, ~called),
        }
        for word in words:
            found[f"{word}, {name}"] = share_of(
                confusion, variance, *shares[word], minimum_cell, is_expected=is_expected
            )
    diagonal = np.eye(spec.n_classes, dtype=bool)
    found["accuracy"] = share_of(
        confusion, variance, diagonal, everybody, minimum_cell, is_expected=is_expected
    )
    smooth = {"balanced accuracy": balanced_accuracy, "macro F1": macro_f1, "κ": kappa}
    if spec.rule.is_ordered and spec.n_classes > 2:  # distances need an order
        smooth["quadratic κ"] = quadratic_kappa
    in_order = np.ix_(*[np.argsort(spec.order)] * 2)
    for name, figure in smooth.items():
        least = -1.0 if "κ" in name else 0.0
        found[name] = smooth_figure(
            figure,
            confusion[in_order],
            variance[in_order],
            minimum_cell,
            least=least,
            is_expected=is_expected,
        )
    return found


def _groups(spec: TableSpec) -> list[tuple[str, list[int]]]:
    """Classes whose calls are told, by name: each, and where one score grades them all above a cut."""
    if spec.n_classes == 2:
        return [(spec.classes[0], [0])]
    found = [(name, [place]) for place, name in enumerate(spec.classes)]
    if spec.ranking == "graded":
        cuts = range(1, spec.n_classes - 1)
        found += [(f"{spec.classes[place]} or worse", list(range(place + 1))) for place in cuts]
    return found


def _brier(table: Floats, spec: TableSpec, *, noise_sd: float, minimum_cell: int) -> Estimate:
    """Mean of Σ(p − y)²/2 over patients, from the error's cell and the count of the others."""
    count, count_sd = count_patients(table, spec, noise_sd=noise_sd)
    if count < max(minimum_cell, 2):
        return SUPPRESSED
    error = float(table[spec.parts["error"].start]) / spec.blocks.error
    value = (error / count + 1.0) / 2.0
    # A square in [0, 1] varies by no more than its mean leaves to either side.
    spread = max(value * (1.0 - value), 0.0) / count
    noise = (noise_sd / spec.blocks.error) ** 2 + (error / count * count_sd) ** 2
    margin = normal_quantile(0.95) * math.sqrt(spread + noise / (2.0 * count) ** 2)
    return bounded(value, margin)
