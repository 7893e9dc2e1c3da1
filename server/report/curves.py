"""ROC, calibration and decision curves of a run: read from pooled tables, drawn as inline SVG.

One curve per kind of validation, of all its sites together. Governed statistics hold no histogram, so
they have none. Imports the run store, results, pictures and measure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from server.report.answers import MEASURED, answers_to
from server.report.expected import expected_of, expected_patients
from server.report.pictures import ACCENT, INK, LINE, MUTED, WARN
from server.report.results import CurveResult
from server.report.validation import kind_of
from server.run.folder import RunStore
from shared.measure.table.endpoint import read_curves
from shared.measure.table.rows import pool_tables
from shared.measure.table.spec import sensitivity, table_spec
from shared.sums.estimate import Estimate

_SIZE, _LEFT, _TOP, _BOTTOM = 250.0, 58.0, 10.0, 46.0
_DASHES = {"internal": "", "external": "7 4", "prospective": "2 3"}
_COLOURS = {"internal": ACCENT, "external": WARN, "prospective": INK}
# A decision is taken at low risks: beyond, a net benefit says little and its scale hides the rest.
_HIGHEST_THRESHOLD = 0.6

_Place = Callable[[float], float]


def collect_curves(store: RunStore) -> tuple[CurveResult, ...]:
    """Of each noised table stage in which anybody measured and whose ranking the plan shows."""
    return tuple(
        found
        for stage in store.plan.tables
        if stage.release_class == "dp" and (found := _curves(store, stage.name)) is not None
    )


def _curves(store: RunStore, name: str) -> CurveResult | None:
    [stage] = [each for each in store.plan.tables if each.name == name]
    measured = [each for each in answers_to(store, stage) if each.status == MEASURED]
    sites = [store.plan.entry(each.site) for each in measured]
    if not measured or "auc" not in expected_of(store.plan, stage, sites).shown:
        return None
    spec = table_spec(store.plan.settings, stage)
    noise_sd = stage.noise_of(1) * sensitivity(spec)
    table, sd = pool_tables([(each.table, noise_sd) for each in measured])
    found = read_curves(
        table,
        spec,
        noise_sd=sd,
        minimum_cell=stage.minimum_cell,
        n_expected=sum(expected_patients(store.plan, stage, site) for site in sites),
    )
    return CurveResult(kind=kind_of(stage), sites=tuple(each.site for each in measured), curves=found)


def draw_curves(results: Sequence[CurveResult]) -> list[tuple[str, str]]:
    """Title and picture of each curve that a run has; none without curves."""
    if not results:
        return []
    drawn = [("ROC", _draw_roc(results))]
    if any(row.curves.calibration for row in results):
        drawn.append(("Calibration", _draw_calibration(results)))
    if any(row.curves.decision for row in results):
        drawn.append(("Decision curve", _draw_decision(results)))
    return drawn


def _draw_roc(results: Sequence[CurveResult]) -> str:
    lines = [(row.kind, row.curves.roc) for row in results if row.curves.roc]
    return _panel(
        "ROC curve",
        "called without the endpoint",
        "called with the endpoint",
        lines,
        guide=((0.0, 0.0), (1.0, 1.0)),
    )


def _draw_calibration(results: Sequence[CurveResult]) -> str:
    lines, bars = [], []
    for row in results:
        points = [(each.predicted, each.observed) for each in row.curves.calibration]
        known = [(x, each) for x, each in points if each.value is not None]
        lines.append((row.kind, tuple((x, each.value or 0.0) for x, each in known)))
        bars += [(row.kind, x, each) for x, each in known]
    return _panel(
        "Calibration curve",
        "stated probability",
        "share with the endpoint",
        lines,
        guide=((0.0, 0.0), (1.0, 1.0)),
        bars=bars,
    )


def _draw_decision(results: Sequence[CurveResult]) -> str:
    """Of each validation, and of treating everybody in the one that says most."""
    points = {
        row.kind: [
            each
            for each in row.curves.decision
            if each.model.value is not None and each.threshold <= _HIGHEST_THRESHOLD
        ]
        for row in results
    }
    fullest = max(points.values(), key=len)
    lines: list[tuple[str, tuple[tuple[float, float], ...]]] = [
        *(
            (kind, tuple((each.threshold, each.model.value or 0.0) for each in shown))
            for kind, shown in points.items()
        ),
        ("treat all", tuple((each.threshold, each.treat_all.value or 0.0) for each in fullest)),
    ]
    highest = max([y for _, line in lines for _, y in line] + [0.05])
    return _panel(
        "Decision curve",
        "threshold probability",
        "net benefit per patient",
        lines,
        guide=((0.0, 0.0), (_HIGHEST_THRESHOLD, 0.0)),
        x_range=(0.0, _HIGHEST_THRESHOLD),
        y_range=(-0.25 * highest, 1.1 * highest),
    )


def _panel(
    title: str,
    across: str,
    up: str,
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    *,
    guide: tuple[tuple[float, float], tuple[float, float]],
    bars: Sequence[tuple[str, float, Estimate]] = (),
    x_range: tuple[float, float] = (0.0, 1.0),
    y_range: tuple[float, float] = (0.0, 1.0),
) -> str:
    """A square panel with one line per kind; ``guide`` is what knows nothing."""

    def x(value: float) -> float:
        return _LEFT + _SIZE * _share(value, *x_range)

    def y(value: float) -> float:
        return _TOP + _SIZE * (1.0 - _share(value, *y_range))

    width, height = _LEFT + _SIZE + 16, _TOP + _SIZE + _BOTTOM + 20
    told = "; ".join(f"{kind}: {len(line)} points" for kind, line in lines)
    parts = [
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" font-size="12" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title><desc>{escape(told)}</desc>',
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_SIZE}" height="{_SIZE}" fill="none" stroke="{LINE}"/>',
    ]
    for share in (0.0, 0.5, 1.0):
        at_x = x_range[0] + share * (x_range[1] - x_range[0])
        at_y = y_range[0] + share * (y_range[1] - y_range[0])
        parts.append(_label(x(at_x), _TOP + _SIZE + 16, f"{at_x:.2g}", "middle"))
        parts.append(_label(_LEFT - 6, y(at_y) + 4, f"{at_y:.2g}", "end"))
    parts.append(_label(_LEFT + _SIZE / 2, _TOP + _SIZE + 32, across, "middle"))
    parts.append(
        f'<g transform="rotate(-90 12 {_TOP + _SIZE / 2:.0f})">'
        + _label(12, _TOP + _SIZE / 2, up, "middle")
        + "</g>"
    )
    parts.append(_line([(x(a), y(b)) for a, b in guide], MUTED, "1 3", 1.0))
    for kind, place, estimate in bars:
        if estimate.low is not None and estimate.high is not None:
            ends = [(x(place), y(estimate.low)), (x(place), y(estimate.high))]
            parts.append(_line(ends, _COLOURS.get(kind, MUTED), "", 1.0))
    at = _LEFT
    for kind, line in lines:
        colour, dashes = _COLOURS.get(kind, MUTED), _DASHES.get(kind, "5 2 1 2")
        parts.append(_line([(x(a), y(b)) for a, b in line], colour, dashes, 1.8))
        if bars:
            parts += [
                f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="2.4" fill="{colour}"/>' for a, b in line
            ]
        parts.append(_line([(at, height - 10), (at + 20, height - 10)], colour, dashes, 1.8))
        parts.append(_label(at + 24, height - 6, kind, "start"))
        at += 34 + 6.2 * len(kind)
    return "".join([*parts, "</svg>"])


def _share(value: float, low: float, high: float) -> float:
    return (min(max(value, low), high) - low) / (high - low)


def _line(points: Sequence[tuple[float, float]], colour: str, dashes: str, width: float) -> str:
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    dash = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>'


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{MUTED}">{escape(text)}</text>'
