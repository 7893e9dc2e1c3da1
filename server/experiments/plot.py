"""Plots of measured figures as SVG: values with intervals over ticks, one colour for each arm.

Text stays text. Imports figures and the report's colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from server.experiments.figure import Figures
from server.report.pictures import ACCENT, INK, LINE, MUTED, WARN

HEAD_WORDS = {
    "cross_attention": "three-layer cross-attention",
    "concatenation": "concatenation",
    "linear": "linear",
}
# Arms that are drawn, with what they are called, their colour and their place beside the tick.
ARMS = (
    ("pooled", "all patients in one place", MUTED, -9),
    ("federated", "federated", ACCENT, 0),
    ("aster alone", "smallest hospital alone", WARN, 9),
)
COLOURS = (ACCENT, WARN, MUTED, INK, "#5a7d2a", "#7a3f8a")
_EPSILONS = (1.0, 3.0, 8.0, None)
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 330, 60, 200, 34, 280
_NAMES_AT = 0.62 / 0.7  # of the height: where the names of the arms begin

Point = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Title, what is drawn over what, the ticks, and the values of the grid's lines, rising."""

    title: str
    y_label: str
    x_label: str
    ticks: tuple[str, ...]
    grid: tuple[float, ...]
    has_lines: bool = False

    def x(self, place: float) -> float:
        """Of a tick, or between ticks."""
        return _LEFT + 40 + place * (_WIDTH - _RIGHT - _LEFT - 80) / max(len(self.ticks) - 1, 1)

    def y(self, value: float) -> float:
        """Of a value; one below the grid lies on its edge."""
        low, high = self.grid[0], self.grid[-1]
        return _BOTTOM - (_BOTTOM - _TOP) * (max(value, low) - low) / (high - low)


@dataclass(frozen=True, kw_only=True)
class Series:
    """One arm: its value at each tick with its interval, None where there is none.

    ``is_open``: its dots are rings, as its colour is another arm's too.
    """

    name: str
    colour: str
    shift: float
    points: tuple[Point | None, ...]
    is_open: bool = False


def draw_epsilon_plot(figures: Figures, *, head: str) -> str:
    """R² on fresh patients of the training hospitals, with 95 % intervals, at every ε.

    Args:
        figures: as measured.
        head: whose arms are drawn.

    Raises:
        KeyError: an arm was not measured at an ε.
    """
    rows = {(row.arm, row.epsilon): row for row in figures.rows if row.head == head}
    axes = Axes(
        title=f"R² against ε, {HEAD_WORDS[head]}",
        y_label="R², fresh patients of the training hospitals",
        x_label="ε of each patient for training",
        ticks=tuple("no privacy" if each is None else f"ε {each:g}" for each in _EPSILONS),
        grid=tuple(tenth / 10 for tenth in range(8)),
        has_lines=True,
    )
    series = [
        Series(
            name=name,
            colour=colour,
            shift=shift,
            points=tuple(rows[arm, epsilon].internal.r2 for epsilon in _EPSILONS),
        )
        for arm, name, colour, shift in ARMS
    ]
    return draw_plot(axes, series)


def series_of(points: dict[str, tuple[Point | None, ...]]) -> list[Series]:
    """Series by name, each in its colour, then as rings of the same, beside each other at a tick."""
    middle = (len(points) - 1) / 2
    return [
        Series(
            name=name,
            colour=COLOURS[at % len(COLOURS)],
            shift=9 * (at - middle),
            points=found,
            is_open=at >= len(COLOURS),
        )
        for at, (name, found) in enumerate(points.items())
    ]


def grid_over(values: Sequence[float], *, least: float) -> tuple[float, ...]:
    """Tenths around all values, from ``least`` on at the earliest."""
    low = max(min(values), least) if values else least
    first, last = int(10 * low // 1), -int(-10 * max([*values, low]) // 1)
    return tuple(tenth / 10 for tenth in range(first, max(last, first + 1) + 1))


def draw_plot(axes: Axes, series: Sequence[Series]) -> str:
    """Every series over the ticks; what cannot be seen is said in the description."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="13"><title>{escape(axes.title)}</title>'
        f"<desc>{escape(_describe(axes, series))}</desc>"
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(_LEFT, 20, axes.y_label, INK),
        *(_grid_line(axes, value) for value in axes.grid),
        *(_tick(axes, place, word) for place, word in enumerate(axes.ticks)),
        _text(axes.x((len(axes.ticks) - 1) / 2), _HEIGHT - 12, axes.x_label, INK, "middle"),
    ]
    names_y = _BOTTOM - (_BOTTOM - _TOP) * _NAMES_AT
    name_x = axes.x(len(axes.ticks) - 1) + max(each.shift for each in series) + 13
    has_rings = any(each.is_open for each in series)
    for at, each in enumerate(series):
        y = names_y + 18 * at
        parts.append(_line(axes, each))
        if has_rings:
            parts.append(_dot(each, name_x + 4, y - 4.5))
        parts.append(_text(name_x + 14 * has_rings, y, each.name, each.colour))
    return "".join([*parts, "</svg>\n"])


def _describe(axes: Axes, series: Sequence[Series]) -> str:
    """The plot in words, for readers who cannot see it."""
    said = []
    for each in series:
        values = ", ".join(
            f"{word}: {point[0]:.3f} ({point[1]:.3f} to {point[2]:.3f})"
            for word, point in zip(axes.ticks, each.points, strict=True)
            if point is not None
        )
        said.append(f"{each.name}: {values}")
    return "; ".join(said)


def _line(axes: Axes, series: Series) -> str:
    """The values of one arm with an interval at each, joined where ticks are of one quantity."""
    places = [
        (axes.x(place) + series.shift, point)
        for place, point in enumerate(series.points)
        if point is not None
    ]
    colour = series.colour
    marks = [
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{axes.y(low):.1f}" y2="{axes.y(high):.1f}" '
        f'stroke="{colour}" stroke-width="2"/>'
        f"{_dot(series, x, axes.y(value))}"
        for x, (value, low, high) in places
    ]
    if not axes.has_lines:
        return "".join(marks)
    path = " ".join(f"{x:.1f},{axes.y(value):.1f}" for x, (value, _, _) in places)
    line = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
    return "".join([line, *marks])


def _dot(series: Series, x: float, y: float) -> str:
    at, colour = f'cx="{x:.1f}" cy="{y:.1f}"', series.colour
    if series.is_open:
        return f'<circle {at} r="3.2" fill="#ffffff" stroke="{colour}" stroke-width="1.8"/>'
    return f'<circle {at} r="4" fill="{colour}"/>'


def _grid_line(axes: Axes, value: float) -> str:
    y = axes.y(value)
    return (
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
        f'stroke="{LINE}" stroke-width="0.6"/>' + _text(_LEFT - 8, y + 4, f"{value:.1f}", MUTED, "end")
    )


def _tick(axes: Axes, place: int, word: str) -> str:
    return _text(axes.x(place), _BOTTOM + 20, word, MUTED, "middle")


def _text(x: float, y: float, text: str, colour: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'
