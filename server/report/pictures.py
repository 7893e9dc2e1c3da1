"""Pictures of a report as inline SVG: forest plots, who sent what to whom, who took part when.

Text stays text (searchable, read aloud, printed sharp); every picture has a title and a description.
Imports results and wording only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from server.report.results import Results
from server.report.wording import (
    MEAN_OF_SITES,
    STATUS_WORD,
    write_bytes,
    write_interval,
    write_rounds,
    write_site,
    write_value,
    write_whose_auc,
)
from shared.sums.estimate import Estimate, Measures

INK, MUTED, LINE, ACCENT, WARN = "#1b2733", "#5b6875", "#c9d1d9", "#0b5c8a", "#b3541e"
ROW, LEFT, RIGHT, WIDTH = 26, 210, 190, 860


@dataclass(frozen=True, kw_only=True)
class ForestRow:
    """One line of a forest plot; a heading has neither estimate nor note."""

    label: str
    estimate: Estimate | None = None
    note: str = ""
    is_pooled: bool = False
    reach: tuple[float, float] | None = None


def forest_rows(
    results: Results, choose: Callable[[Measures], Estimate], *, with_random_effects: bool
) -> list[ForestRow]:
    """Rows of a forest plot, grouped by kind of validation, pooled rows last in their group."""
    rows = []
    for kind in ("internal", "external", "prospective"):
        group = [row for row in results.validation if row.kind == kind]
        if not group:
            continue
        has_mean = kind == "internal" and with_random_effects and results.site_auc is not None
        rows.append(ForestRow(label=kind.capitalize()))
        for row in sorted(group, key=lambda item: item.is_pooled):
            label = write_whose_auc(row) if with_random_effects else write_site(row.site)
            if has_mean and label == MEAN_OF_SITES:
                continue  # the row below, which knows where a further site is expected
            if row.measures is None:
                rows.append(ForestRow(label=label, note=STATUS_WORD[row.status]))
            else:
                estimate = choose(row.measures)
                rows.append(ForestRow(label=label, estimate=estimate, is_pooled=row.is_pooled))
        if has_mean:
            rows.append(_random_effects_row(results))
    return rows


def _random_effects_row(results: Results) -> ForestRow:
    pooled = results.site_auc
    if pooled is None or pooled.low is None or pooled.high is None:
        return ForestRow(label=MEAN_OF_SITES, note="needs three sites")
    reach = None
    if pooled.prediction_low is not None and pooled.prediction_high is not None:
        reach = (pooled.prediction_low, pooled.prediction_high)
    estimate = Estimate(status="measured", value=pooled.value, low=pooled.low, high=pooled.high)
    return ForestRow(label=MEAN_OF_SITES, estimate=estimate, is_pooled=True, reach=reach)


def draw_forest(
    rows: Sequence[ForestRow], *, title: str, reference: float, reference_label: str, floor: float
) -> str:
    """A forest plot from ``floor`` or the lowest interval (whichever is nearer to 1) up to 1.

    What leaves the axis ends in an arrow, and a figure beyond it has no square; a missing figure is a
    word, never a mark.
    """
    lows = [row.estimate.low for row in rows if row.estimate and row.estimate.low is not None]
    start = max(floor, min([*lows, reference - 0.05]))
    start = int(start * 10 - (1 if start < 0 else 0)) / 10
    inner = WIDTH - LEFT - RIGHT
    height = ROW * len(rows) + 58

    def x(value: float) -> float:
        return LEFT + inner * (min(max(value, start), 1.0) - start) / (1.0 - start)

    parts = [_frame(height, title, _describe(rows))]
    bottom = 14 + ROW * len(rows)
    step = 0.1 if 1.0 - start <= 0.85 else 0.25
    tick = 1.0
    while tick >= start - 1e-9:
        parts.append(
            f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="10" y2="{bottom}" stroke="{LINE}" '
            f'stroke-width="0.6"/>{_text(x(tick), bottom + 16, f"{tick:.2f}", "middle", MUTED)}'
        )
        tick -= step
    parts.append(
        f'<line x1="{x(reference):.1f}" x2="{x(reference):.1f}" y1="10" y2="{bottom}" '
        f'stroke="{WARN}" stroke-width="1.2" stroke-dasharray="4 3"/>'
        + _text(x(reference), bottom + 34, reference_label, _side(x(reference)), WARN)
    )
    for index, row in enumerate(rows):
        parts.append(_forest_row(row, y=14 + ROW * index + ROW / 2, x=x, start=start))
    return "".join([*parts, "</svg>"])


def _forest_row(row: ForestRow, *, y: float, x: Callable[[float], float], start: float) -> str:
    if row.estimate is None and not row.note:
        return _text(0, y + 5, row.label, "start", INK, weight="600")
    weight = "600" if row.is_pooled else "400"
    label = _text(14, y + 5, row.label, "start", INK, weight=weight)
    right = WIDTH - RIGHT + 14
    estimate = row.estimate
    if estimate is None or estimate.value is None or estimate.low is None or estimate.high is None:
        word = row.note or write_value(estimate)
        return label + _text(right, y + 5, word, "start", MUTED, style="italic")
    value, low, high = estimate.value, estimate.low, estimate.high
    marks = ""
    if row.reach:
        marks += (
            f'<line x1="{x(row.reach[0]):.1f}" x2="{x(row.reach[1]):.1f}" y1="{y}" y2="{y}" '
            f'stroke="{ACCENT}" stroke-width="1" stroke-dasharray="2 3"/>'
        )
    if row.is_pooled:
        a, b, c = x(low), x(value), x(high)
        marks += (
            f'<path d="M{a:.1f} {y}L{b:.1f} {y - 7}L{c:.1f} {y}L{b:.1f} {y + 7}Z" '
            f'fill="{ACCENT}" fill-opacity="0.85"/>'
        )
    else:
        marks += (
            f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y}" y2="{y}" stroke="{INK}" '
            f'stroke-width="1.6"/>'
        )
        if value >= start:
            marks += (
                f'<rect x="{x(value) - 4.5:.1f}" y="{y - 4.5}" width="9" height="9" fill="{ACCENT}"/>'
            )
    if low < start:
        marks += f'<path d="M{x(start):.1f} {y}l7 -4v8Z" fill="{INK}"/>'
    figure = _text(right, y + 5, write_value(estimate), "start", INK, weight=weight)
    interval = _text(right + 46, y + 5, write_interval(estimate), "start", MUTED)
    return label + marks + figure + interval


def draw_flow(results: Results) -> str:
    """Who sent what to whom: hospitals on the left, the coordinator on the right."""
    sites = results.sites
    training = results.training
    totals = "updates" if training and training.total == "changes" else "sums"
    does = "releases one model" if training else "measures one release"
    height = 70 * len(sites) + 30
    middle = height / 2
    told = [
        f"{s.site}: received {write_bytes(s.bytes_received)}, sent {write_bytes(s.bytes_sent)}"
        for s in sites
    ]
    told_all = f"{'; '.join(told)}. Patients' data stay at the site."
    parts = [_frame(height, "Who sent what to whom", told_all)]
    parts.append(
        f'<rect x="640" y="{middle - 62}" width="210" height="124" rx="6" fill="#eef4f8" '
        f'stroke="{ACCENT}"/>'
        + _text(745, middle - 34, "coordinator", "middle", INK, weight="600")
        + _text(745, middle - 10, f"adds up {totals},", "middle", MUTED)
        + _text(745, middle + 10, does, "middle", MUTED)
        + _text(745, middle + 36, "sees no patient and", "middle", MUTED)
        + _text(745, middle + 54, "nobody's data", "middle", MUTED)
    )
    for index, site in enumerate(sites):
        y = 20 + 70 * index + 27
        is_training = site.role == "training" and training is not None
        end = middle - 45 + 90 * (index + 0.5) / len(sites)
        sent = f"signed {totals}, tables" if is_training else "tables of sums"
        dash = "" if is_training else ' stroke-dasharray="5 4"'
        parts.append(
            f'<rect x="1" y="{y - 26}" width="230" height="54" rx="6" fill="#fff" stroke="{LINE}"/>'
            + _text(14, y - 5, site.site, "start", INK, weight="600")
            + _text(14, y + 15, f"{site.role} site · data stay", "start", MUTED)
            + f'<path d="M232 {y}H452C530 {y} 540 {end:.0f} 632 {end:.0f}" fill="none" '
            f'stroke="{ACCENT}" stroke-width="1.6"{dash}/>'
            f'<path d="M640 {end:.0f}l-9 -4.5v9Z" fill="{ACCENT}"/>'
            + _text(244, y - 8, f"{sent}: {write_bytes(site.bytes_sent)}", "start", INK)
            + _text(244, y + 19, f"received: {write_bytes(site.bytes_received)}", "start", MUTED)
        )
    return "".join([*parts, "</svg>"])


def draw_rounds(results: Results) -> str:
    """A strip per training site, a cell per round: took part, missing, or not asked."""
    sites = [s.site for s in results.sites if s.role == "training"]
    n_rounds = max(len(results.rounds), 1)
    cell = (WIDTH - LEFT - 20) / n_rounds
    height = 24 * len(sites) + 34
    missing = sum(len(r.missing) for r in results.rounds)
    described = f"{write_rounds(results.rounds)}, {len(sites)} sites, {missing} missing totals"
    parts = [_frame(height, "Who took part in which round", described)]
    for row, site in enumerate(sites):
        y = 6 + 24 * row
        parts.append(_text(0, y + 14, site, "start", INK))
        for column, done in enumerate(results.rounds):
            fill = ACCENT if site in done.took_part else WARN if site in done.asked else "#fff"
            gap = 1 if cell > 4 else 0
            x = LEFT + cell * column
            parts.append(
                f'<rect x="{x:.2f}" y="{y if fill != WARN else y - 3}" '
                f'width="{max(cell - gap, 0.5):.2f}" height="{16 if fill != WARN else 22}" '
                f'fill="{fill}"/>'
            )
    bottom = 24 * len(sites) + 22
    parts.append(_text(LEFT, bottom, "round 1", "start", MUTED))
    parts.append(_text(WIDTH - 20, bottom, f"round {n_rounds}", "end", MUTED))
    return "".join([*parts, "</svg>"])


def _frame(height: float, title: str, description: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" xmlns="http://www.w3.org/2000/svg" '
        f'font-size="14"><title>{escape(title)}</title><desc>{escape(description)}</desc>'
    )


def _text(
    x: float, y: float, text: str, anchor: str, fill: str, *, weight: str = "400", style: str = ""
) -> str:
    slant = f' font-style="{style}"' if style else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" '
        f'font-weight="{weight}"{slant}>{escape(text)}</text>'
    )


def _side(x: float) -> str:
    return "start" if x < LEFT + 120 else "middle"


def _describe(rows: Sequence[ForestRow]) -> str:
    told = []
    for row in rows:
        if row.estimate is not None:
            interval = write_interval(row.estimate)
            told.append(f"{row.label}: {write_value(row.estimate)}{', ' * bool(interval)}{interval}")
        elif row.note:
            told.append(f"{row.label}: {row.note}")
    return "; ".join(told)
