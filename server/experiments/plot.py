"""The README's plot, as SVG: how well a head reads against ε, pooled, federated and alone.

Text stays text. Imports figures and the report's colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from server.experiments.figure import Figures, Row
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
_EPSILONS = (1.0, 3.0, 8.0, None)
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 330, 60, 200, 34, 280


def draw_epsilon_plot(figures: Figures, *, head: str) -> str:
    """R² on fresh patients of the training hospitals, with 95 % intervals, at every ε.

    Args:
        figures: as measured.
        head: whose arms are drawn.

    Raises:
        KeyError: an arm was not measured at an ε.
    """
    rows = {(row.arm, row.epsilon): row for row in figures.rows if row.head == head}
    drawn = [[rows[arm, epsilon] for epsilon in _EPSILONS] for arm, *_ in ARMS]
    title = f"R² against ε, {HEAD_WORDS[head]}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="13"><title>{escape(title)}</title>'
        f"<desc>{escape(_describe(drawn))}</desc>"
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(_LEFT, 20, "R², fresh patients of the training hospitals", INK),
        *(_grid_line(tenth / 10) for tenth in range(8)),
        *(_tick(place, epsilon) for place, epsilon in enumerate(_EPSILONS)),
        _text(_x(1.5), _HEIGHT - 12, "ε of each patient for training", INK, "middle"),
    ]
    for (_, name, colour, shift), points in zip(ARMS, drawn, strict=True):
        parts.append(_line(points, colour, shift))
        parts.append(_text(_x(3) + 22, _label_y(name), name, colour))
    return "".join([*parts, "</svg>\n"])


def _describe(drawn: Sequence[Sequence[Row]]) -> str:
    """The plot in words, for readers who cannot see it."""
    said = []
    for (_, name, *_), points in zip(ARMS, drawn, strict=True):
        values = ", ".join(
            f"{_epsilon_word(row.epsilon)}: {row.internal.r2[0]:.3f} "
            f"({row.internal.r2[1]:.3f} to {row.internal.r2[2]:.3f})"
            for row in points
        )
        said.append(f"{name}: {values}")
    return "; ".join(said)


def _line(points: Sequence[Row], colour: str, shift: int) -> str:
    """A line through the values of one arm, with an interval at each."""
    places = [(_x(place) + shift, row.internal.r2) for place, row in enumerate(points)]
    path = " ".join(f"{x:.1f},{_y(value):.1f}" for x, (value, _, _) in places)
    marks = [
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_y(low):.1f}" y2="{_y(high):.1f}" stroke="{colour}" '
        f'stroke-width="2"/><circle cx="{x:.1f}" cy="{_y(value):.1f}" r="4" fill="{colour}"/>'
        for x, (value, low, high) in places
    ]
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>' + "".join(
        marks
    )


def _label_y(name: str) -> float:
    """Names stand below each other beside the last points, in the order of the arms."""
    return _y(0.62) + 18 * [arm[1] for arm in ARMS].index(name)


def _grid_line(value: float) -> str:
    return (
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_y(value):.1f}" y2="{_y(value):.1f}" '
        f'stroke="{LINE}" stroke-width="0.6"/>'
        + _text(_LEFT - 8, _y(value) + 4, f"{value:.1f}", MUTED, "end")
    )


def _tick(place: int, epsilon: float | None) -> str:
    return _text(_x(place), _BOTTOM + 20, _epsilon_word(epsilon), MUTED, "middle")


def _epsilon_word(epsilon: float | None) -> str:
    return "no privacy" if epsilon is None else f"ε {epsilon:g}"


def _x(place: float) -> float:
    return _LEFT + 40 + place * (_WIDTH - _RIGHT - _LEFT - 80) / (len(_EPSILONS) - 1)


def _y(value: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * value / 0.7


def _text(x: float, y: float, text: str, colour: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'
