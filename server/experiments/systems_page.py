"""Writes what systems have reached as ``docs/experiments.md``, with a plot of each.

Takes outcomes as data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from server.experiments.deployed import Deployed, deployed_section, read_deployed
from server.experiments.looks_page import cell, looks_section, shortcut_section
from server.experiments.outcome import Compared, Mean, Outcome, mean_of_hospitals
from server.experiments.readings import place_in_table
from server.experiments.readings_page import readings_section
from server.experiments.system import (
    ALONE,
    DELTA,
    EPSILON,
    EXTERNAL,
    FEDERATED,
    INTERNAL,
    LOCAL,
    POOLED,
    PROSPECTIVE,
    SETTINGS,
    System,
)
from server.experiments.systems_plot import is_by_place, picture_of, plots_of
from server.experiments.systems_said import GAINS, alone_sentence, gain_sentences, order_sentence
from server.experiments.systems_tables import (
    arms_table,
    contents,
    differences_table,
    folded,
    full_table,
    further_table,
    short_table,
    whole_table,
)
from server.federation.sweep import share_of
from shared.machine.files import PROJECT, write_atomic

DATA = "docs/data/experiments.json"
PAGE = "docs/experiments.md"


_OUTCOMES = TypeAdapter(tuple[Outcome, ...])


def read_outcomes(root: Path = PROJECT) -> tuple[Outcome, ...]:
    """What is kept; nothing before the first run."""
    path = root / DATA
    return _OUTCOMES.validate_json(path.read_bytes()) if path.exists() else ()


def write_systems(
    systems: Sequence[System], new: Sequence[Outcome], *, root: Path = PROJECT
) -> list[Path]:
    """Keep new outcomes in the place of older ones of the same systems, and write page and plots."""
    kept = {each.system: each for each in (*read_outcomes(root), *new)}
    outcomes = tuple(kept[system.name] for system in systems if system.name in kept)
    texts = {
        DATA: _OUTCOMES.dump_json(outcomes, indent=1).decode() + "\n",
        PAGE: systems_page(systems, outcomes, read_deployed(root)),
        **plots_of(systems, outcomes),
    }
    for name, text in texts.items():
        write_atomic(root / name, text.encode())
    return [root / name for name in texts]


def systems_page(
    systems: Sequence[System], outcomes: Sequence[Outcome], deployed: Sequence[Deployed] = ()
) -> str:
    """The page of every system, in the order of their entries, and of their deployments."""
    found = {each.system: each for each in outcomes}
    lines = [
        "# Experiments",
        "",
        "Written by `make experiments`; nothing here is typed by hand. What a system is stands in "
        "`server/experiments/systems.py`: an entry is its arms, each a set of settings.",
        "",
        "All patients are synthetic: the figures say how arms compare on what was generated, and "
        "nothing about real films. Cohorts are what the intake makes of raw files, taken in once for "
        "all arms; models are trained in memory by the sums and steps of a real run, noise included. "
        f"*{FEDERATED}*: ε = {EPSILON:g} of a patient (add/remove), δ = 1e-5, each site its own noise; "
        f"*{POOLED}*: all patients in one place; *{ALONE}*: one hospital by itself, under the same ε; "
        f"*no privacy*: "
        f"neither clipped nor noised; *{LOCAL}*: the release trained further at the hospital that is "
        f"measured, under an ε of its own of the same size. *{INTERNAL}*: held out at the training "
        f"hospitals; *{EXTERNAL}*: a hospital that never trained; *{PROSPECTIVE}*: later patients of "
        "the training hospitals, in cohorts of their own (no lock is played here).",
        "",
        "A figure is the mean over populations. In brackets: its 95 % interval over the patients who "
        "were measured; a difference is paired on the same patients. It says nothing of how models "
        "of other populations or other noise would differ: the column *populations* shows the smallest "
        "and the largest. p: Holm, for all differences of the system by that figure; sentences go by "
        "the intervals, which are not adjusted, or by p where they say so. AUC without a word is that "
        "of the positive class against the others; macro AUC is the mean over the classes.",
        "",
        "Settings: "
        + "; ".join(
            f"`{each.name}` is {each.n_patients} patients at each hospital, {each.n_seeds} populations"
            for each in SETTINGS.values()
        )
        + ". `full` is declared for a machine with a GPU.",
    ]
    clean = {system.clean for system in systems}
    shown = [system for system in systems if system.name not in clean]
    lines += ["", *contents(shown, outcomes)]
    for system in systems:
        if system.name in clean:
            continue  # stands beside the one whose films leak
        lines += ["", f"## {system.name}", "", *_about(system)]
        outcome = found.get(system.name)
        if outcome is None:
            lines += ["", "Declared, not measured yet."]
        else:
            lines += _measured(system, outcome, found.get(system.clean))
    lines += deployed_section(deployed, systems)
    return "\n".join([*lines, ""])


def _about(system: System) -> list[str]:
    said = [f"{_capital(system.paper)}.", "", f"Patients: {system.population.says}."]
    if system.share_epsilon:
        each = share_of(EPSILON, len(system.arms), delta=DELTA)
        said[2] += (
            f" All {len(system.arms)} arms together are under ε = {EPSILON:g}, each under {each:.2f}."
        )
    if system.stand_ins:
        said += ["", "Stand-ins: " + "; ".join(system.stand_ins) + "."]
    return said


def _measured(system: System, outcome: Outcome, clean: Outcome | None) -> list[str]:
    n = ", ".join(f"{place} {outcome.patients[place]}" for place in outcome.patients)
    lines = [
        "",
        f"Setting `{outcome.setting}`: populations {', '.join(map(str, outcome.seeds))} of "
        f"{outcome.n_patients} patients at each hospital. Measured patients, over all "
        f"populations: {n}. {outcome.date}; {outcome.seconds} s of a core for training and measuring, "
        "films and intake apart.",
        *_not_measured(system, outcome),
        "",
        f"![{system.figures[0]} of {system.name}]({picture_of(outcome).removeprefix('docs/')})",
        "",
    ]
    if system.clean:
        return [*lines, *shortcut_section(outcome, clean)]
    if not is_by_place(outcome):
        return [*lines, *_by_hospital(system, outcome), *readings_section(system, outcome)]
    lines += short_table(system, outcome)
    lines += ["", *folded("Every arm, training and place", whole_table(system, outcome))]
    lines += arms_table(system, outcome)
    lines += looks_section(outcome)
    lines += readings_section(system, outcome)
    drawn = [each for each in outcome.compared if each.figure == system.figures[0]]
    for title, is_ablation in (("Ablations", True), ("The federation against others", False)):
        compared = [each for each in drawn if bool(each.kind) is is_ablation]
        first = [each for each in compared if is_first(each)]
        if compared:
            what = f"{title} by {system.figures[0]}, {PROSPECTIVE} patients"
            lines += ["", f"{what}, first − second:", ""]
            lines += differences_table(first, with_kind=is_ablation)
            lines += further_table(system, outcome, first)
            every = differences_table(compared, with_kind=is_ablation)
            lines += ["", *folded("At every place, trained in every way", every)]
    lines += full_table(system, outcome)
    said = [
        sentence
        for each in system.ablations
        if (sentence := order_sentence(each, outcome.compared, system.figures[0]))
    ]
    return [*lines, *(["", *said] if said else []), "", *alone_sentence(system, outcome)]


def is_first(each: Compared) -> bool:
    """Whether a difference is read first: of the private federation, on later patients."""
    return each.place == PROSPECTIVE and each.kind in ("", FEDERATED)


def _by_hospital(system: System, outcome: Outcome) -> list[str]:
    """Each hospital alone beside the others that never saw it; then hospitals in the mean."""
    lines: list[str] = []
    for figure in system.figures:
        values = _by_title(
            (row.kind, row.place, row.mean) for row in outcome.rows if row.figure == figure
        )
        kind_of = {row.training: row.kind for row in outcome.rows}
        differences = _by_title(
            (f"{kind_of[each.first]} − {kind_of[each.second]}", each.place, each.mean)
            for each in outcome.compared
            if each.figure == figure
        )
        for columns in (values, differences) if values else ():
            lines += [
                f"| {figure} on later patients of | {' | '.join(columns)} |",
                "|---" * (1 + len(columns)) + "|",
            ]
            for place in outcome.patients:
                cells = (cell(found[place]) for found in columns.values())
                lines.append(f"| {place} | {' | '.join(cells)} |")
            means = (_mean_cell(list(found.values())) for found in columns.values())
            lines += [f"| **mean of hospitals** | {' | '.join(means)} |", ""]
        for title, words in GAINS.items() if values else ():
            lines += gain_sentences(figure, words, differences.get(title, {}))
        lines += [""] if values else []
    return lines[:-1]


def _not_measured(system: System, outcome: Outcome) -> list[str]:
    """What the system's entry declares and no figure is kept of."""
    figures = {row.figure for row in outcome.rows}
    arms, readings = {row.arm for row in outcome.rows}, {place_in_table(each)[0] for each in figures}
    missing = [
        *(arm.name for arm in system.arms if arm.name not in arms),
        *(each for each in (*system.figures, *system.of_arms) if each not in figures),
        *(each.kind for each in system.readings if each.kind not in readings),
    ]
    return ["", f"Declared, not measured yet: {', '.join(missing)}."] if missing else []


def _by_title(
    cells: Iterable[tuple[str, str, Mean | None]],
) -> dict[str, dict[str, Mean | None]]:
    """Means by column and hospital."""
    found: dict[str, dict[str, Mean | None]] = {}
    for title, place, mean in cells:
        found.setdefault(title, {})[place] = mean
    return found


def _mean_cell(means: Sequence[Mean | None]) -> str:
    found = [mean for mean in means if mean is not None]
    return cell(mean_of_hospitals(found)) if len(found) == len(means) else "–"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
