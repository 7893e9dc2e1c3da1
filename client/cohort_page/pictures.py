"""Pictures of a cohort page: histograms and bars as inline SVG, films as PNG in the page itself.

Text stays text and every picture has a title and a description. Imports numpy only.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
INK, MUTED, LINE, ACCENT, WARN = "#1b2733", "#5b6875", "#c9d1d9", "#0b5c8a", "#b3541e"
MARK = "#ff9d2e"  # seen on black, grey and white
SHADES = ("#0b5c8a", "#7fb2d0", "#b9c4cd", "#d9a679")
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 480, 190, 42, 40, 6


@dataclass(frozen=True)
class _Plot:
    """The scales of a histogram: counts up to ``top`` over ``edges``, below a ``band`` for names."""

    edges: Floats
    top: int
    band: int

    @property
    def base(self) -> float:
        """Where the horizontal axis lies."""
        return HEIGHT + self.band - BOTTOM

    def x(self, value: float) -> float:
        """Place of a value."""
        first, last = float(self.edges[0]), float(self.edges[-1])
        return LEFT + (WIDTH - LEFT - 12) * (value - first) / (last - first)

    def y(self, count: float) -> float:
        """Height of a count."""
        return self.base - (self.base - TOP - self.band) * count / self.top


def draw_histogram(
    groups: Sequence[tuple[str, Floats]],
    *,
    title: str,
    unit: str,
    marks: Sequence[tuple[str, float]] = (),
    n_bins: int = 22,
) -> str:
    """Values of one or several groups, stacked, with vertical marks at named places.

    Args:
        groups: (name, values); a single unnamed group has no legend.
        unit: written under the axis.
        marks: (name, place), for example where a class begins.
    """
    values = np.concatenate([part for _, part in groups]) if groups else np.zeros(0)
    if not len(values):
        return _draw_nothing(title)
    edges = _edges(float(values.min()), float(values.max()), n_bins)
    counts = np.array([np.histogram(part, edges)[0] for _, part in groups])  # [groups, bins]
    band = 16 * len(marks) + (18 if len(groups) > 1 else 4)
    plot = _Plot(edges, int(counts.sum(axis=0).max()), band)
    parts = [
        _grid(plot),
        *_stacks(plot, counts),
        *(_text(plot.x(tick), plot.base + 16, f"{tick:g}", MUTED, "middle") for tick in _ticks(edges)),
        *_marks(plot, marks),
        _text((LEFT + WIDTH - 12) / 2, plot.base + 34, unit, MUTED, "middle"),
        _legend([name for name, _ in groups]) if len(groups) > 1 else "",
    ]
    summary = (
        f"{len(values)} values from {values.min():.3g} to {values.max():.3g} {unit}, "
        f"median {np.median(values):.3g}."
    )
    return _frame(title, summary, HEIGHT + band, parts)


def _stacks(plot: _Plot, counts: NDArray[np.int64]) -> list[str]:
    """One rectangle per group and bin, each on top of the groups before."""
    parts = []
    ends = np.cumsum(counts, axis=0)  # [groups, bins]
    for shade, row, end in zip(SHADES, counts, ends, strict=False):
        for place in np.flatnonzero(row):
            left, right = plot.x(float(plot.edges[place])), plot.x(float(plot.edges[place + 1]))
            top, bottom = plot.y(int(end[place])), plot.y(int(end[place] - row[place]))
            parts.append(
                f'<rect x="{left + 0.5:.1f}" y="{top:.1f}" width="{right - left - 1:.1f}" '
                f'height="{bottom - top:.1f}" fill="{shade}"/>'
            )
    return parts


def _marks(plot: _Plot, marks: Sequence[tuple[str, float]]) -> list[str]:
    parts = []
    for index, (name, place) in enumerate(marks):
        if plot.edges[0] <= place <= plot.edges[-1]:
            y = TOP + plot.band - 16 * (len(marks) - index) + 8
            parts.append(
                f'<line x1="{plot.x(place):.1f}" x2="{plot.x(place):.1f}" y1="{y - 10}" '
                f'y2="{plot.base}" stroke="{WARN}" stroke-width="1.3" stroke-dasharray="4 3"/>'
                + _text(plot.x(place) + 4, y, f"{name} ≤ {place:.3f}", WARN)
            )
    return parts


def draw_bars(
    rows: Sequence[tuple[str, float]], *, title: str, as_share: bool = False, warn_above: float = 2.0
) -> str:
    """One horizontal bar per row, with its number written out.

    Args:
        rows: (name, count or share).
        as_share: rows are shares of 1, drawn against 1 and written in percent.
        warn_above: shares above this are drawn in the warning colour.
    """
    if not rows:
        return _draw_nothing(title)
    height = 22 * len(rows) + 12
    longest = 1.0 if as_share else max(value for _, value in rows) or 1.0
    left = 150
    parts = []
    for index, (name, value) in enumerate(rows):
        y = 6 + 22 * index
        wide = (WIDTH - left - 62) * value / longest
        colour = WARN if as_share and value > warn_above else ACCENT
        written = f"{100 * value:.1f} %" if as_share else f"{value:g}"
        parts.append(
            _text(left - 8, y + 14, name, INK, "end")
            + f'<rect x="{left}" y="{y + 3}" width="{max(wide, 0.8):.1f}" height="14" fill="{colour}"/>'
            + _text(left + wide + 6, y + 14, written, MUTED)
        )
    described = "; ".join(f"{name} {value:.3g}" for name, value in rows)
    return _frame(title, described, height, parts)


def png_uri(image: NDArray[np.generic]) -> str:
    """A film [h, w] in [0, 1] as a grey PNG (ISO/IEC 15948) in a data URI."""
    grey = np.clip(np.asarray(image, dtype=np.float32) * 255, 0, 255).astype(np.uint8)
    height, width = grey.shape
    lines = b"".join(b"\0" + row.tobytes() for row in grey)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        + _chunk(b"IDAT", zlib.compress(lines, 9))
        + _chunk(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(png).decode()


def draw_window(
    uri: str,
    *,
    shape: tuple[int, int],
    pixel: tuple[float, float],
    window: tuple[float, float, float, float],
    has_landmark: bool,
) -> str:
    """A whole film with the window that a model sees, and the landmark in its middle.

    Args:
        uri: the film, of any shape.
        shape: its rows and columns.
        pixel: height and width of one of its pixels, in one unit.
        window: top, left, bottom, right in pixels; may reach beyond the film.
        has_landmark: whether the window lies around one.
    """
    high, wide = shape[0] * pixel[0], shape[1] * pixel[1]
    top, left, bottom, right = (
        edge * pixel[place % 2] for place, edge in enumerate(window)
    )  # in the unit of a pixel's height and width
    low_x, low_y = min(0.0, left), min(0.0, top)
    all_wide, all_high = max(wide, right) - low_x, max(high, bottom) - low_y
    stroke = max(all_wide, all_high) / 90
    x, y, arm = (left + right) / 2, (top + bottom) / 2, 3 * stroke
    cross = (
        f'<path d="M{x - arm:.2f} {y:.2f}h{2 * arm:.2f}M{x:.2f} {y - arm:.2f}v{2 * arm:.2f}" '
        f'stroke="{MARK}" stroke-width="{stroke:.2f}"/>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" '
        f'viewBox="{low_x:.2f} {low_y:.2f} {all_wide:.2f} {all_high:.2f}">'
        f"<title>The whole film, and the window that a model sees</title>"
        f'<image href="{uri}" width="{wide:.2f}" height="{high:.2f}" preserveAspectRatio="none"/>'
        f'<rect x="{left:.2f}" y="{top:.2f}" width="{right - left:.2f}" height="{bottom - top:.2f}" '
        f'fill="none" stroke="{MARK}" stroke-width="{stroke:.2f}"/>'
        f"{cross if has_landmark else ''}</svg>"
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _edges(low: float, high: float, n_bins: int) -> Floats:
    """Round bin edges that cover low to high."""
    if high <= low:
        low, high = low - 0.5, high + 0.5
    step = _round_step((high - low) / n_bins)
    first, last = np.floor(low / step), np.ceil(high / step + 1e-9)
    edges: Floats = np.arange(first, last + 1) * step
    return edges


def _ticks(edges: Floats) -> list[float]:
    low, high = float(edges[0]), float(edges[-1])
    step = _round_step((high - low) / 6)
    first = int(np.ceil(low / step - 1e-9))
    last = int(np.floor(high / step + 1e-9))
    return [round(number * step, 10) for number in range(first, last + 1)]


def _round_step(raw: float) -> float:
    """The next 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** int(np.floor(np.log10(raw)))
    return power * next(nice for nice in (1.0, 2.0, 2.5, 5.0, 10.0) if power * nice >= raw * 0.999)


def _grid(plot: _Plot) -> str:
    step = max(1, round(_round_step(plot.top / 4)))
    return "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - 12}" y1="{plot.y(count):.1f}" y2="{plot.y(count):.1f}" '
        f'stroke="{LINE}" stroke-width="0.6"/>'
        + _text(LEFT - 6, plot.y(count) + 4, str(count), MUTED, "end")
        for count in range(0, plot.top + 1, step)
    )


def _legend(names: Sequence[str]) -> str:
    parts, x = [], float(WIDTH - 12)
    for shade, name in reversed(list(zip(SHADES, names, strict=False))):
        x -= 7.2 * len(name)
        parts.append(_text(x, 12, name, INK))
        x -= 16
        parts.append(f'<rect x="{x:.1f}" y="3" width="11" height="11" fill="{shade}"/>')
        x -= 10
    return "".join(parts)


def _draw_nothing(title: str) -> str:
    return _frame(title, "No values.", 60, [_text(LEFT, 36, "no values", MUTED)])


def _frame(title: str, description: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{''.join(parts)}</svg>"
    )


def _text(x: float, y: float, words: str, colour: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" fill="{colour}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )
