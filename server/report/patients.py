"""Who the patients are: rows of the table, the same for the page and the terminal.

One row per characteristic, one column per site and one for all pooled, as a paper's first table has
them. Imports results and wording only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from server.report.results import DescriptionResult
from server.report.wording import as_percent, write_interval, write_value
from shared.measure.description.reading import CategoryReading, Description, NumberReading
from shared.sums.estimate import Estimate


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A figure and, smaller, its interval; ``is_word`` when it is no number."""

    text: str
    small: str = ""

    @property
    def is_word(self) -> bool:
        """Whether it says why there is no figure."""
        return self.text in ("suppressed", "NA")


@dataclass(frozen=True, kw_only=True)
class Characteristic:
    """A row: what it is of, and a cell per described site, in their order."""

    name: str
    cells: tuple[Cell, ...]


def described(results: Sequence[DescriptionResult]) -> tuple[DescriptionResult, ...]:
    """Columns: all pooled first, then the sites that gave a description."""
    rows = [row for row in results if row.description is not None]
    return tuple(sorted(rows, key=lambda row: not row.is_pooled))


def characteristics(results: Sequence[DescriptionResult]) -> tuple[Characteristic, ...]:
    """All rows; of every described site the plan's fields are the same."""
    columns = [row.description for row in described(results) if row.description is not None]
    if not columns:
        return ()
    first = columns[0]
    rows = [
        _row("Patients", (each.n_patients for each in columns), digits=0),
        _row(f"With {first.endpoint}", (each.n_positive for each in columns), digits=0),
        _row(f"With {first.endpoint}, %", (as_percent(each.prevalence) for each in columns), digits=1),
    ]
    targets = [each.target for each in columns if each.target is not None]
    if targets:
        rows += _number_rows(targets)
    for place in range(len(first.numbers)):
        rows += _number_rows([each.numbers[place] for each in columns])
    for place in range(len(first.categories)):
        rows += _category_rows([each.categories[place] for each in columns])
    return tuple(rows)


def _number_rows(columns: Sequence[NumberReading]) -> list[Characteristic]:
    first = columns[0]
    name = first.name.replace("_", " ")
    unit = f", {first.unit}" if first.unit else ""
    digits = digits_of(first)
    rows = [
        _row(f"{name}{unit}: mean", (each.mean for each in columns), digits=digits),
        _row(f"{name}{unit}: SD", (each.sd for each in columns), digits=digits),
    ]
    return [*rows, *_missing_row(name, [each.missing for each in columns])]


def _category_rows(columns: Sequence[CategoryReading]) -> list[Characteristic]:
    name = columns[0].name.replace("_", " ")
    rows = [
        _row(
            f"{name}: {category}, %",
            (as_percent(each.shares[category]) for each in columns),
            digits=1,
        )
        for category in columns[0].shares
    ]
    return [*rows, *_missing_row(name, [each.missing for each in columns])]


def _missing_row(name: str, missing: Sequence[Estimate]) -> list[Characteristic]:
    if all(each.status == "not-applicable" for each in missing):
        return []
    return [_row(f"{name}: missing, %", (as_percent(each) for each in missing), digits=1)]


def _row(name: str, estimates: Iterable[Estimate], *, digits: int) -> Characteristic:
    return Characteristic(
        name=name,
        cells=tuple(
            Cell(
                text=write_value(estimate, digits=digits),
                small=write_interval(estimate, digits=digits),
            )
            for estimate in estimates
        ),
    )


def digits_of(number: NumberReading) -> int:
    """Decimals that show about three digits of a number's public range."""
    return max(0, 2 - math.floor(math.log10(number.high - number.low)))


def clipping(results: Sequence[DescriptionResult]) -> str:
    """The public bounds in words, since every figure is of values within them."""
    found: Description | None = next((row.description for row in described(results)), None)
    if found is None:
        return ""
    numbers = [found.target, *found.numbers] if found.target else list(found.numbers)
    return ", ".join(f"{each.name.replace('_', ' ')} {each.low:g} to {each.high:g}" for each in numbers)
