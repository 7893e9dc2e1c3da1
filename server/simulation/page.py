"""The arms of a simulation as a page for people, JSON for programs, and rows for a terminal.

Imports the report's pictures and words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from server.report.pictures import ForestRow, draw_forest
from server.report.wording import NOT_A_DEVICE, write_figure, write_value
from server.simulation.arms import CLINICAL_ONLY, FEDERATED, POOLED
from server.simulation.comparison import INTERNAL, Comparison, Difference, Figure, Spread
from shared.machine.files import write_atomic
from shared.sums.estimate import NOT_APPLICABLE, Estimate

TEMPLATE = "comparison.html.j2"
PAGE, DATA = "comparison.html", "comparison.json"
_DIGITS = {"MAE": 3}
_TOGETHER = (FEDERATED, POOLED, CLINICAL_ONLY)


@dataclass(frozen=True)
class ArmTable:
    """A title, column heads and rows of text; ``is_ours``: which rows are the federation's."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    is_ours: tuple[bool, ...] = ()


def write_comparison(folder: Path, comparison: Comparison) -> tuple[Path, Path]:
    """Write ``comparison.html`` and ``comparison.json`` and return both paths."""
    page, data = folder / PAGE, folder / DATA
    write_atomic(data, comparison.model_dump_json(indent=1).encode())
    write_atomic(page, render_comparison(comparison).encode())
    return page, data


def render_comparison(comparison: Comparison) -> str:
    """The page as HTML text; it makes no request of any kind."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        comparison=comparison,
        first=comparison.first,
        arms={row.arm for row in comparison.first.figures},
        places=[(place, place_words(place), n) for place, n in comparison.first.patients.items()],
        figures={place: arm_table(comparison, place) for place in comparison.first.patients},
        differences={place: difference_table(comparison, place) for place in comparison.first.patients},
        spreads={place: spread_table(comparison, place) for place in comparison.first.patients},
        forest=_forest(comparison),
        not_a_device=NOT_A_DEVICE,
    )


def tables_for_terminal(comparison: Comparison) -> list[ArmTable]:
    """Of each place the arms' figures, federated minus each other arm, and the spread."""
    return [
        table
        for place in comparison.first.patients
        for table in (
            arm_table(comparison, place),
            difference_table(comparison, place),
            spread_table(comparison, place),
        )
        if table is not None
    ]


def arm_table(comparison: Comparison, place: str) -> ArmTable:
    """Figures of every arm at a place."""
    first = comparison.first
    found = [row for row in first.figures if row.place == place]
    names, arms = _names(found), tuple(dict.fromkeys(row.arm for row in found))
    cells = {(row.arm, row.figure): _cell(row) for row in found}
    return ArmTable(
        title=f"{place_words(place)}: {first.patients[place]} patients",
        columns=("arm", "trained on", *_heads(comparison, names)),
        rows=tuple(
            (arm, str(_n_trained(comparison, arm)), *(cells[arm, name] for name in names))
            for arm in arms
        ),
        is_ours=tuple(arm == FEDERATED for arm in arms),
    )


def difference_table(comparison: Comparison, place: str) -> ArmTable:
    """Federated minus every other arm at a place, paired, each with its adjusted p."""
    found = [row for row in comparison.first.differences if row.place == place]
    names = _names(found)
    cells = {(row.against, row.figure): _cell(row) + _p_words(row) for row in found}
    return ArmTable(
        title=f"{place_words(place)}: difference on the same patients; p by Holm over a column",
        columns=("", *_heads(comparison, names)),
        rows=tuple(
            (_minus(arm), *(cells[arm, name] for name in names))
            for arm in dict.fromkeys(row.against for row in found)
        ),
    )


def spread_table(comparison: Comparison, place: str) -> ArmTable | None:
    """Mean ± SD over divisions, of arms and of differences; None where there is one division only."""
    found = [row for row in comparison.spread() if row.place == place]
    if not found:
        return None
    names = tuple(dict.fromkeys(row.figure for row in found))
    cells = {(row.arm, row.against, row.figure): _spread_cell(row) for row in found}
    return ArmTable(
        title=f"{place_words(place)}: mean ± SD of {len(comparison.divisions)} divisions",
        columns=("", *_heads(comparison, names)),
        rows=tuple(
            (
                _minus(against) if against else arm,
                *(cells.get((arm, against, name), "–") for name in names),
            )
            for arm, against in dict.fromkeys((row.arm, row.against) for row in found)
        ),
    )


def place_words(place: str) -> str:
    """What a place is, for people."""
    if place == INTERNAL:
        return "held-out patients of all hospitals that trained"
    return f"{place}, a hospital that never trained"


def _heads(comparison: Comparison, names: tuple[str, ...]) -> tuple[str, ...]:
    unit = f" [{comparison.unit}]" if comparison.unit else ""
    return tuple(f"{name}{unit}" if name == "MAE" else name for name in names)


def _n_trained(comparison: Comparison, arm: str) -> int:
    training = comparison.first.training
    if arm in _TOGETHER:
        return sum(training.values())
    return training.get(arm.removesuffix(" alone"), 0)  # nobody: untrained, a published rule


def _names(rows: Sequence[Figure | Difference]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row.figure for row in rows))


def _minus(arm: str) -> str:
    return f"{FEDERATED} − {arm}"


def _cell(row: Figure | Difference) -> str:
    # of a difference one digit more: whether its interval holds 0 must be seen
    digits = _DIGITS.get(row.figure, 2) + isinstance(row, Difference)
    text = write_figure(_estimate(row), digits=digits)
    is_gain = isinstance(row, Difference) and row.value is not None and row.value > 0
    return f"+{text}" if is_gain else text


def _p_words(row: Difference) -> str:
    if row.p_adjusted is None:
        return ""
    return ", p < 0.001" if row.p_adjusted < 0.001 else f", p = {row.p_adjusted:.3f}"


def _estimate(row: Figure | Difference) -> Estimate:
    if row.value is None:
        return NOT_APPLICABLE
    return Estimate(status="measured", value=row.value, low=row.low, high=row.high)


def _spread_cell(row: Spread) -> str:
    digits = _DIGITS.get(row.figure, 2)
    mean = write_value(Estimate(status="measured", value=row.mean), digits=digits)
    sign = "+" if row.against and row.mean > 0 else ""
    return f"{sign}{mean} ± {row.sd:.{digits}f}"


def _forest(comparison: Comparison) -> str:
    """The first figure of every arm, by place."""
    main = comparison.main
    rows = []
    rule = comparison.first.rule
    for place in comparison.first.patients:
        rows.append(ForestRow(label=place.capitalize()))
        rows += [
            ForestRow(label=row.arm, estimate=_estimate(row), is_pooled=row.arm in _TOGETHER)
            for row in comparison.first.figures
            if (row.place, row.figure) == (place, main)
            and not (main == "R²" and rule is not None and row.arm == rule.name)
        ]
    return draw_forest(
        rows,
        title=f"{main} of every arm",
        reference=0.0 if comparison.is_regression else 0.5,
        reference_label="0: everybody gets the mean" if comparison.is_regression else "0.5: chance",
        floor=-0.5 if comparison.is_regression else 0.3,
    )
