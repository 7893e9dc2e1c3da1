"""A plane of two figures: one numbered point for each model, with both intervals, as inline SVG.

Text stays text; what cannot be seen is said in the description. Imports the report's colours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from server.report.pictures import ACCENT, INK, LINE, MUTED

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 860, 430, 70, 300, 40, 370
_STEP = 0.1  # between lines of the grid

# Value and 95 % interval.
Interval = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class PlanePoint:
    """One model: what it is called, its figure across, and its figure upwards."""

    name: str
    x: Interval
    y: Interval


def draw_plane(points: Sequence[PlanePoint], *, title: str, x_label: str, y_label: str) -> str:
    """Every point with both intervals and its number; the names stand beside the plane.

    The grid goes in tenths around all intervals. A line marks where y is 0.

    Args:
        points: in the order of their numbers, from 1 on; none: an empty plane.
        title: of the picture.
        x_label: below.
        y_label: above.
    """
    x_lines, y_lines = (_grid([end for each in points for end in ends(each)]) for ends in (_x, _y))

    def across(value: float) -> float:
        return _on(value, x_lines, _LEFT, _WIDTH - _RIGHT)

    def up(value: float) -> float:
        return _on(value, y_lines, _BOTTOM, _TOP)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="13"><title>{escape(title)}</title>'
        f"<desc>{escape(_describe(points))}</desc>"
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(_LEFT, 20, y_label, INK),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 16, x_label, INK, "middle"),
    ]
    for value in y_lines:
        is_nought = abs(value) < _STEP / 2
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{up(value):.1f}" y2="{up(value):.1f}" '
            f'stroke="{INK if is_nought else LINE}" stroke-width="{1.2 if is_nought else 0.6}"/>'
            + _text(_LEFT - 8, up(value) + 4, _number(value), MUTED, "end")
        )
    parts += [_text(across(value), _BOTTOM + 20, _number(value), MUTED, "middle") for value in x_lines]
    for number, each in enumerate(points, start=1):
        parts.append(_point(number, each, across, up))
        parts.append(
            _text(_WIDTH - _RIGHT + 28, _TOP + 10 + 20 * number, f"{number}  {each.name}", INK)
        )
    return "".join([*parts, "</svg>\n"])


def _x(point: PlanePoint) -> Interval:
    return point.x


def _y(point: PlanePoint) -> Interval:
    return point.y


def _grid(ends: Sequence[float]) -> tuple[float, ...]:
    """Tenths around all ends, 0 and the next one at least."""
    low, high = min(ends, default=0.0), max(ends, default=_STEP)
    first, last = int(low // _STEP), -int(-high // _STEP)
    return tuple(number * _STEP for number in range(first, max(last, first + 1) + 1))


def _on(value: float, lines: Sequence[float], start: float, end: float) -> float:
    return start + (end - start) * (value - lines[0]) / (lines[-1] - lines[0])


def _point(
    number: int, each: PlanePoint, across: Callable[[float], float], up: Callable[[float], float]
) -> str:
    """Both intervals thinly, the number in a disc on top."""
    (x, left, right), (y, low, high) = each.x, each.y
    at_x, at_y = across(x), up(y)
    line = f'stroke="{ACCENT}" stroke-width="1" opacity="0.45"'
    return (
        f'<line x1="{across(left):.1f}" x2="{across(right):.1f}" '
        f'y1="{at_y:.1f}" y2="{at_y:.1f}" {line}/>'
        f'<line x1="{at_x:.1f}" x2="{at_x:.1f}" y1="{up(low):.1f}" y2="{up(high):.1f}" {line}/>'
        f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="9" fill="{ACCENT}"/>'
        f'<text x="{at_x:.1f}" y="{at_y + 4:.1f}" fill="#ffffff" font-size="11" '
        f'text-anchor="middle">{number}</text>'
    )


def _describe(points: Sequence[PlanePoint]) -> str:
    return "; ".join(f"{each.name}: {_said(each.x)} across, {_said(each.y)} up" for each in points)


def _said(interval: Interval) -> str:
    value, low, high = interval
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _number(value: float) -> str:
    return f"{abs(value) if abs(value) < _STEP / 2 else value:.1f}".replace("-", "−")


def _text(x: float, y: float, text: str, colour: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'
