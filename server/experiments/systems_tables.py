"""Tables of what a system has reached: in short, whole, arm beside arm, and differences.

Takes outcomes as data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from server.experiments.looks_page import cell, number
from server.experiments.outcome import Compared, Mean, Outcome, Row
from server.experiments.system import ALONE, EXTERNAL, FEDERATED, INTERNAL, PROSPECTIVE, System
from server.experiments.systems_plot import kinds_of, mean_of_kind

_PLACES = (INTERNAL, EXTERNAL, PROSPECTIVE)


def contents(systems: Sequence[System], outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each system that is by place: its first arm's first figure, on later patients."""
    found = {each.system: each for each in outcomes}
    kinds = (FEDERATED, f"{FEDERATED}, no privacy", ALONE)
    lines = []
    for system in systems:
        outcome = found.get(system.name)
        rows = [row for row in outcome.rows if row.figure == system.figures[0]] if outcome else []
        means = [
            mean_of_kind(rows, arm=system.arms[0].name, kind=kind, place=PROSPECTIVE) for kind in kinds
        ]
        shown = [number(point[0]) if point else "–" for point in means]
        first = f"[{system.name}](#{system.name}) | {system.arms[0].name} | {system.figures[0]}"
        lines.append(f"| {first} | {' | '.join(shown)} |")
    return [
        f"First arm and figure of each system, {PROSPECTIVE} patients; – where it is read otherwise:",
        "",
        f"| system | arm | figure | {' | '.join(kinds)} (mean of hospitals) |",
        "|---|---|---|---|---|---|",
        *lines,
    ]


def short_table(system: System, outcome: Outcome) -> list[str]:
    """A line for each arm, a column for each training: the first figure, on later patients."""
    figure, kinds = system.figures[0], kinds_of(outcome)
    rows = [row for row in outcome.rows if row.figure == figure]

    def shown(arm: str, kind: str) -> str:
        point = mean_of_kind(rows, arm=arm, kind=kind, place=PROSPECTIVE)
        return number(point[0]) if point else "–"

    titles = [f"{kind}, mean of hospitals" if kind == ALONE else kind for kind in kinds]
    return [
        f"{figure}, {PROSPECTIVE} patients:",
        "",
        f"| arm | {' | '.join(titles)} |",
        "|---" * (1 + len(kinds)) + "|",
        *(
            f"| {arm.name} | {' | '.join(shown(arm.name, kind) for kind in kinds)} |"
            for arm in system.arms
        ),
    ]


def whole_table(system: System, outcome: Outcome) -> list[str]:
    """A line for each arm, training and figure; a column for each place."""
    places = [place for place in _PLACES if place in outcome.patients]
    cells: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in outcome.rows:
        if row.figure in system.figures:
            cells.setdefault((row.arm, row.training, row.figure), {})[row.place] = row
    return [
        f"| arm | trained | figure | {' | '.join(places)} |",
        "|---|---|---|" + "---|" * len(places),
        *(
            f"| {' | '.join(key)} | {' | '.join(cell(found[place].mean) for place in places)} |"
            for key, found in cells.items()
        ),
    ]


def arms_table(system: System, outcome: Outcome) -> list[str]:
    """A line for each arm of the private federation, on later patients; a column for each figure."""
    if not system.of_arms:
        return []
    found = {
        (row.arm, row.figure): row.mean
        for row in outcome.rows
        if (row.kind, row.place) == (FEDERATED, PROSPECTIVE)
    }
    return [
        "",
        f"Arms beside each other, {FEDERATED}, {PROSPECTIVE} patients; each class against the others:",
        "",
        f"| arm | {' | '.join(system.of_arms)} |",
        "|---" * (1 + len(system.of_arms)) + "|",
        *(
            f"| {arm.name} | "
            + " | ".join(cell(found.get((arm.name, figure))) for figure in system.of_arms)
            + " |"
            for arm in system.arms
        ),
    ]


def differences_table(compared: Sequence[Compared], *, with_kind: bool) -> list[str]:
    """A line for each difference, with its interval, its range over populations and its p."""
    head = ["first", "second", *(["trained"] if with_kind else []), "place", "difference"]
    return [
        f"| {' | '.join(head)} | populations | p |",
        "|---" * (len(head) + 2) + "|",
        *(
            "| "
            + " | ".join(
                [
                    each.first,
                    each.second,
                    *([each.kind] if with_kind else []),
                    each.place,
                    cell(each.mean),
                    _range(each.mean),
                    _p(each.p_adjusted),
                ]
            )
            + " |"
            for each in compared
        ),
    ]


def further_table(system: System, outcome: Outcome, pairs: Sequence[Compared]) -> list[str]:
    """The same pairs by the system's other figures: a column for each, with its p.

    Args:
        system: names the figures.
        outcome: of it.
        pairs: as a table of the first figure has them.
    """
    found = _by_pair(outcome)
    figures = [name for name in system.figures[1:] if any(name in found[_pair(each)] for each in pairs)]
    if not figures:
        return []
    return [
        "",
        f"The same pairs by {', '.join(figures)} (p):",
        "",
        f"| first | second | {' | '.join(figures)} |",
        "|---" * (2 + len(figures)) + "|",
        *(
            f"| {each.first} | {each.second} | {_with_p(found[_pair(each)], figures)} |"
            for each in pairs
        ),
    ]


def full_table(system: System, outcome: Outcome) -> list[str]:
    """Each ablation told in full: a line for each training and place, a column for each figure."""
    lines: list[str] = []
    found, every = _by_pair(outcome), dict.fromkeys((*system.figures, *system.of_arms))
    for ablation in (each for each in system.ablations if each.is_in_full):
        pairs = [
            pair
            for pair in found
            if pair[:2] == (ablation.first, ablation.second) and pair[2] and pair[3] != INTERNAL
        ]
        figures = [name for name in every if any(name in found[pair] for pair in pairs)]
        if figures:
            lines += [
                "",
                f"{ablation.first} − {ablation.second} by every figure, on the same patients (p):",
                "",
                f"| trained | place | {' | '.join(figures)} |",
                "|---" * (2 + len(figures)) + "|",
                *(f"| {pair[2]} | {pair[3]} | {_with_p(found[pair], figures)} |" for pair in pairs),
            ]
    return lines


def folded(title: str, lines: Sequence[str]) -> list[str]:
    """Lines of a page that a reader opens."""
    return [f"<details><summary>{title}</summary>", "", *lines, "", "</details>"]


# First, second, how both were trained, and where they were measured.
_Pair = tuple[str, str, str, str]


def _pair(each: Compared) -> _Pair:
    return each.first, each.second, each.kind, each.place


def _by_pair(outcome: Outcome) -> dict[_Pair, dict[str, Compared]]:
    """Differences of each pair by figure."""
    found: dict[_Pair, dict[str, Compared]] = {}
    for each in outcome.compared:
        found.setdefault(_pair(each), {})[each.figure] = each
    return found


def _with_p(found: Mapping[str, Compared], figures: Sequence[str]) -> str:
    """Cells of a line: each difference with its interval and its p."""
    cells = (
        f"{cell(found[name].mean)}, {_p(found[name].p_adjusted)}" if name in found else "–"
        for name in figures
    )
    return " | ".join(cells)


def _range(mean: Mean | None) -> str:
    return "–" if mean is None else f"{number(min(mean.by_seed))} to {number(max(mean.by_seed))}"


def _p(p: float | None) -> str:
    return "–" if p is None else "< .001" if p < 0.001 else f"{p:.3f}"
