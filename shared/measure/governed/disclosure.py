"""Which of a site's exact figures may be shown together, so that none tells of too few patients.

A figure implies cells: the patients behind it, its class, and in a share those whom the decision
called and those whom it did not. Owns the rules; what the figures are says
``shared.measure.governed.statistics``. Imports that alone.

The rules, over all governed figures of a split:

1. A figure is shown only where **every cell that it implies holds the minimum**. An empty cell is
   withheld like a small one: were only small ones withheld, a withheld share would say "not none",
   and a high AUC "few".
2. **Complementary**: where a class is too small, nothing is shown that depends on the classes, its size
   included; the size of the one and the patients tell the size of the other.
3. **Differences**: patients of a class between two decisions are a cell too. Of the same patients a
   share is shown beside earlier ones only if it differs from each by at least the minimum of patients,
   whatever count the earlier share was rounded from; and never after one that was withheld, since it
   would say on which side the few are.
4. After another set of patients of the same split nothing is shown: who came or went would be a cell.
   Beside a table of another kind nothing is released (``client.gate.ledger``): what lies between them
   is a cell that none of these rules knows.
5. **Other classes**, each with its size and the share that is called rightly, are shown all or none, in
   the first release of a split, and only beside both shares of the endpoint: of each class those called
   rightly and wrongly, and of all of them together those whom only these classes are confused among
   (who is called wrongly, less who is called to have the endpoint), hold the minimum.
6. Of **few values** of scores, or of targets, no figure is computed at all
   (``shared.measure.governed.values``): it would be solved for who has which.
7. What is shown is **rounded** to public digits, on top: no rule relies on it.

Not covered: figures that are no counts (AUC, R², errors) are shown of at least the minimum of
patients (and of each class), one patient's influence on them is not bounded.

Source: Hundepool et al. 2012, Statistical Disclosure Control, ch. 4 (primary and secondary
suppression).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from shared.measure.governed.statistics import Floats, Implied, StatisticsSpec, share_of, size_of


def withhold(
    exact: Floats,
    spec: StatisticsSpec,
    *,
    minimum_cell: int,
    earlier: Sequence[Floats] = (),
) -> Floats:
    """What of a site's figures may be shown: rounded, NaN where withheld.

    Args:
        exact: figures as ``measure_statistics`` gives them.
        spec: meaning of the places.
        minimum_cell: fewest patients of a cell that is implied.
        earlier: every governed vector that was shown of this split before, oldest first.

    Shapes: exact [m], each of earlier [m] -> [m].

    Raises:
        ProtocolError: a vector is of another length.
    """
    figures, shown = spec.named(exact), [spec.named(vector) for vector in earlier]
    is_shown = _shown_groups(figures, shown, spec, minimum_cell=minimum_cell)
    rounded = [
        round(value, digits) if is_shown[figure.implies] and math.isfinite(value) else math.nan
        for (value, figure, digits) in zip(exact, spec.figures.values(), spec.digits, strict=True)
    ]
    return np.array(rounded, dtype=np.float64)


def _shown_groups(
    figures: dict[str, float],
    earlier: Sequence[dict[str, float]],
    spec: StatisticsSpec,
    *,
    minimum_cell: int,
) -> dict[Implied, bool]:
    """Whether figures that imply these cells may be shown."""
    n, n_positive = round(figures["n"]), round(figures["n_positive"])
    n_negative = n - n_positive
    is_same = all(_is_same_patients(figures, before) for before in earlier)
    has_patients = is_same and n >= minimum_cell
    has_classes = has_patients and min(n_positive, n_negative) >= minimum_cell

    def has_share(name: str, size: int) -> bool:
        if not has_classes or any(math.isnan(before[name]) for before in earlier):
            return False
        hits = round(figures[name] * size)
        digits = spec.digits[list(spec.figures).index(name)]
        others = [
            count for before in earlier for count in counts_behind(before[name], size, digits=digits)
        ]
        return all(abs(hits - other) >= minimum_cell for other in (0, size, *others))

    has_positives = has_share("sensitivity", n_positive)
    has_negatives = has_share("specificity", n_negative)
    return {
        "patients": has_patients,
        "classes": has_classes,
        "positives": has_positives,
        "negatives": has_negatives,
        "others": has_positives
        and has_negatives
        and not earlier
        and min(_cells_of_others(figures, spec, n_negative), default=0) >= minimum_cell,
    }


def _cells_of_others(
    figures: dict[str, float], spec: StatisticsSpec, n_negative: int
) -> tuple[int, ...]:
    """Patients of each other class called rightly, wrongly, and confused among these classes alone.

    Nothing where one has nobody, or they are not all who lack the endpoint.
    """
    sizes = [round(figures[size_of(name)]) for name in spec.others]
    if sum(sizes) != n_negative or not all(sizes):
        return ()
    right = [
        round(figures[share_of(name)] * size) for name, size in zip(spec.others, sizes, strict=True)
    ]
    wrong = [size - hits for size, hits in zip(sizes, right, strict=True)]
    called = n_negative - round(figures["specificity"] * n_negative)
    return (*right, *wrong, sum(wrong) - called)


def _is_same_patients(figures: dict[str, float], before: dict[str, float]) -> bool:
    """Whether an earlier vector may be of the same patients: no size that it shows is another."""
    return all(
        not math.isfinite(before[name]) or before[name] == figures[name] for name in ("n", "n_positive")
    )


def counts_behind(share: float, size: int, *, digits: int) -> tuple[int, ...]:
    """Every number of patients, of ``size``, that is rounded to this share."""
    reach = size * 10.0**-digits
    first = max(math.floor(share * size - reach), 0)
    last = min(math.ceil(share * size + reach), size)
    return tuple(count for count in range(first, last + 1) if round(count / size, digits) == share)
