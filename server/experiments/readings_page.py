"""What the page says of a system's readings: calibration, importance, columns kept, maps of films.

Takes outcomes as data. A section without measured rows is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from server.experiments.harness import settings_of
from server.experiments.looks_page import cell
from server.experiments.outcome import Mean, Outcome, Row, mean_of_hospitals
from server.experiments.readings import (
    APART,
    CALIBRATION,
    COLUMNS,
    DRAWS,
    FORETOLD,
    IMPORTANCE,
    KEPT,
    MAPS,
    OBSERVED,
    place_in_table,
)
from server.experiments.system import FEDERATED, Reading, System
from server.experiments.systems_tables import folded
from server.report.readings import clusters_of
from server.simulation.film_maps import FIGURES as OF_MAPS
from server.simulation.film_maps import FILM_NOISE, STABILITY_LIMIT
from shared.learners.selection import SelectionSettings

# Reading's rows by (arm, how trained, row of its table), each by column; a column may have several
# models behind it, such as each hospital alone.
_Cells = Mapping[tuple[str, str, str], Mapping[str, Sequence[Mean]]]


def readings_section(system: System, outcome: Outcome) -> list[str]:
    """A section for each reading of a system that its outcome has."""
    lines: list[str] = []
    for reading in system.readings:
        cells = _cells_of(outcome.rows, reading)
        if cells:
            lines += ["", *_SECTIONS[reading.kind](cells)]
    return lines + _clusters_section(system)


def _cells_of(rows: Sequence[Row], reading: Reading) -> _Cells:
    found: dict[tuple[str, str, str], dict[str, list[Mean]]] = {}
    for row in rows:
        kind, line, column = place_in_table(row.figure)
        if kind == reading.kind and row.mean is not None:
            of_line = found.setdefault((row.arm, row.kind, line), {})
            of_line.setdefault(column, []).append(row.mean)
    return found


def _calibration(cells: _Cells) -> list[str]:
    """The private federation in sight, with how often what came is told from what was foretold."""
    columns = (OBSERVED, FORETOLD, APART)
    apart = [of[APART][0] for of in cells.values()]
    lines = [
        "Calibration: the share of later patients with each event by each edge, observed (beside the "
        "other event, by Aalen–Johansen), foretold (mean risk) and their difference:",
        "",
        f"| arm | event | {' | '.join(columns)} |",
        "|---" * 5 + "|",
    ]
    lines += [
        f"| {arm} | {line} | {_shown(of, columns)} |"
        for (arm, kind, line), of in cells.items()
        if kind == FEDERATED
    ]
    rest = [
        f"| {arm} | {kind} | {line} | {_shown(of, columns)} |"
        for (arm, kind, line), of in cells.items()
        if kind != FEDERATED
    ]
    head = [f"| arm | trained | event | {' | '.join(columns)} |", "|---" * 6 + "|"]
    lines += ["", *folded("The same without privacy", [*head, *rest])] if rest else []
    too_few, too_many = (
        sum(sign * each.value > 0 and not each.holds_nought for each in apart) for sign in (1, -1)
    )
    return [
        *lines,
        "",
        f"Of {len(apart)} shares, {too_few} came more often than foretold and {too_many} less often; "
        "the others are not told from what was foretold.",
    ]


def _importance(cells: _Cells) -> list[str]:
    """A line for each field, a column for each arm; with privacy, then without."""
    kinds = tuple(dict.fromkeys(kind for _, kind, _ in cells))
    arms = tuple(dict.fromkeys(arm for arm, _, _ in cells))
    fields = tuple(dict.fromkeys(field for *_, field in cells))
    lines = [
        "Importance of clinical fields: by how much the chance that is given to other classes than the "
        "true one rises in the mean when a field is a public donor's, not the patient's own; later "
        "patients:",
        "",
        "| field | " + " | ".join(f"{arm}, {kind}" for kind in kinds for arm in arms) + " |",
        "|---" * (1 + len(arms) * len(kinds)) + "|",
    ]
    for field in fields:
        shown = [_shown(cells.get((arm, kind, field), {}), ("rise",)) for kind in kinds for arm in arms]
        lines.append(f"| {field} | {' | '.join(shown)} |")
    first = [
        field
        for field in fields
        for each in cells.get((arms[0], FEDERATED, field), {}).get("rise", ())
        if each.low > 0
    ]
    said = ", ".join(first) or "no field"
    return [*lines, "", f"{arms[0]}, {FEDERATED}: told above 0 of {said}."]


def _columns(cells: _Cells) -> list[str]:
    """For each arm a line for each column, the most often kept first."""
    return [line for arm in dict.fromkeys(arm for arm, *_ in cells) for line in _columns_of(arm, cells)]


def _columns_of(arm: str, cells: _Cells) -> list[str]:
    kinds = tuple(dict.fromkeys(kind for of_arm, kind, _ in cells if of_arm == arm))
    shares = {
        name: [*(_kept(cells, arm, kind, name, KEPT) for kind in kinds)]
        for name in dict.fromkeys(line for of_arm, _, line in cells if of_arm == arm)
    }
    draws = {name: _kept(cells, arm, FEDERATED, name, DRAWS) for name in shares}
    at = kinds.index(FEDERATED)
    order = sorted(shares, key=lambda name: (-(shares[name][at] or 0.0), -(draws[name] or 0.0)))
    table = [
        f"| column | {' | '.join(kinds)} | {FEDERATED}, in draws of fresh noise |",
        "|---" * (2 + len(kinds)) + "|",
        *(f"| {name} | {' | '.join(map(_share, (*shares[name], draws[name])))} |" for name in order),
    ]
    n_always = sum(shares[name][at] == 1.0 for name in shares)
    n_never = sum(shares[name][at] == 0.0 for name in shares)
    return [
        f"Columns kept by {arm}: of {len(shares)} that are chosen from, the private federation keeps "
        f"{n_always} in every population and {n_never} in none. They are columns kept, not the "
        "informative ones: under noise nothing tells those.",
        "",
        *folded("How often each column is kept, over populations and hospitals", table),
    ]


def _kept(cells: _Cells, arm: str, kind: str, name: str, column: str) -> float | None:
    """Share over populations, and over hospitals where each is alone; None where nobody asked."""
    means = cells.get((arm, kind, name), {}).get(column, ())
    return fmean(value for mean in means for value in mean.by_seed) if means else None


def _maps(cells: _Cells) -> list[str]:
    columns = [name for name in OF_MAPS if any(name in of for of in cells.values())]
    lines = [
        "Maps of later films, a few of each hospital, as means over films. LIME: R² of its fit, and "
        f"the rank correlation of two sets of masks; a film is reliable from {STABILITY_LIMIT:g} on. "
        "Grad-CAM: the rank correlation, over the same cells, of the maps of a film and of the film "
        f"with noise of {FILM_NOISE:g} of its range, "
        "and of the map with LIME's cells that speak for the endpoint; – where there is no such map "
        "(a transformer, or a classifier that reads columns of films):",
        "",
        f"| arm | trained | {' | '.join(columns)} |",
        "|---" * (2 + len(columns)) + "|",
    ]
    return lines + [
        f"| {arm} | {kind} | {_shown(of, columns)} |" for (arm, kind, _), of in cells.items()
    ]


def _clusters_section(system: System) -> list[str]:
    """Public clusters by which an arm's columns are chosen: known before anybody is asked."""
    asked = {arm for reading in system.readings if reading.kind == COLUMNS for arm in reading.arms}
    for arm in (arm for arm in system.arms if arm.name in asked):
        learner = settings_of(system, arm, is_private=True).learner
        found = clusters_of(learner) if isinstance(learner, SelectionSettings) else ()
        if found:
            table = ["| representative | others of its cluster |", "|---|---|"]
            for each in found:
                first, *others = (f"{name} {r2:.2f}" for name, r2 in each.explained.items())
                table.append(f"| {first} | {', '.join(others) or '–'} |")
            said = f"The {len(found)} clusters of public films (r² with a cluster's first component)"
            return ["", *folded(said, table)]
    return []


def _shown(of: Mapping[str, Sequence[Mean]], columns: Sequence[str]) -> str:
    """Cells of a line; of several hospitals their mean."""
    return " | ".join(cell(mean_of_hospitals(of[name])) if name in of else "–" for name in columns)


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


_SECTIONS: Mapping[str, Callable[[_Cells], list[str]]] = {
    CALIBRATION: _calibration,
    IMPORTANCE: _importance,
    COLUMNS: _columns,
    MAPS: _maps,
}
