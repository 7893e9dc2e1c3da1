"""The section of docs/coverage.md on governed releases; ``coverage.py`` writes it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from coverage_cells import SIZES, TITLES, Cell, entry, outside_of

if TYPE_CHECKING:
    from practice_coverage import Population

INTRODUCTION = """## Governed releases: exact figures

The same populations, measured without noise, withheld below 10 patients of a cell and read as a report
reads a hospital's statistics; bounds of a table play no part. "AUC, DeLong alone" is the interval that
was read before, and stays as it was for comparison: of few positives DeLong's variance is itself
uncertain, and often too small (`shared/measure/exact/discrimination.py`, `exact_auc_interval`).
"""


def exact_section(repetitions: int, populations: Sequence[Population]) -> str:
    """A row per figure and population, and those outside."""
    from practice_exact_coverage import DELONG_ALONE, MEASURED, tally_exact

    cells = []
    for place, population in enumerate(populations):
        for n in SIZES:
            found = tally_exact(population, n, repetitions=repetitions, seed=3000 * n + place)
            cells.append(
                Cell(population=population, n=n, epsilon=None, bins=0, noise_share=0.0, found=found)
            )
            sys.stderr.write(f"{population.name} n {n} exact\n")
    titles = {name: TITLES[name] for name in MEASURED}
    first = {"auc": TITLES["auc"], DELONG_ALONE: "AUC, DeLong alone"}
    lines = [
        f"| figure | population | {' | '.join(f'n {n}' for n in SIZES)} |",
        f"|---|---|{'---|' * len(SIZES)}",
    ]
    for name, title in (first | titles).items():
        for population in populations:
            row = [entry(each.found[name], name) for each in cells if each.population is population]
            lines.append(f"| {title} | {population.name} | {' | '.join(row)} |")
    read = [replace(each, found=_as_read(each, DELONG_ALONE)) for each in cells]
    return "\n".join([INTRODUCTION, *lines, "", outside_of(read)])


def _as_read(cell: Cell, left_out: str) -> dict[str, object]:
    """The figures that a report shows."""
    return {name: each for name, each in cell.found.items() if name != left_out}
