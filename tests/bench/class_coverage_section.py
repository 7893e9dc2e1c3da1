"""The section of docs/coverage.md on what else a table says of classes; ``coverage.py`` writes it."""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import TYPE_CHECKING

from coverage_cells import DELTA, EPSILONS, PROMISED, said_of

if TYPE_CHECKING:
    from practice_class_coverage import ClassTally

SIZES = (200, 800, 2000)
INTRODUCTION = """## What else a table says of classes

Half as many repetitions. Calibrated probabilities of two classes (a fifth are ill) and of three, and a
BMD with two cuts; truth is the same figures of half a million patients in 64 bins.
"""
CAUSES = {
    "wide": "Too wide by design: the spread of a square is bounded from above (Brier), chance lifts a "
    "calibration error, and the errors of three AUCs are taken to go together (macro AUC).",
    "bins": "Ties within bins move the figure (by the number in brackets); the interval holds noise "
    "and sampling, not this.",
    "selected": "In over 1 % of the repetitions noise left no figure: the coverage is that of the "
    "others.",
    "chance": "Within one standard error of the range.",
    "few": "200 patients: the delta method takes a ratio of small counts for normal.",
    "unknown": "Not known.",
}
_WIDE = ("Brier", "calibration error", "macro AUC")


def classes_section(repetitions: int) -> str:
    """A row per figure and ε, and those outside by cause."""
    from practice_class_coverage import CASES, tally_classes

    from shared.privacy.accountant import calibrate

    repetitions //= 2
    parts, n_shown, outside = [INTRODUCTION], 0, defaultdict(list)
    for place, case in enumerate(CASES):
        found = {}
        for epsilon in EPSILONS:
            multiplier = 0.0 if epsilon is None else calibrate(epsilon, DELTA)
            for n in SIZES:
                found[epsilon, n] = tally_classes(
                    case, n, multiplier=multiplier, repetitions=repetitions, seed=7000 * n + place
                )
                sys.stderr.write(f"{case.name} n {n} ε {said_of(epsilon)}\n")
        names = dict.fromkeys(name for each in found.values() for name in each)
        lines = [
            f"### {case.name.capitalize()}\n",
            f"| figure | ε | {' | '.join(f'n {n}' for n in SIZES)} |",
            f"|---|---|{'---|' * len(SIZES)}",
        ]
        for name in names:
            for epsilon in EPSILONS:
                row = [found[epsilon, n].get(name) for n in SIZES]
                n_shown += sum(each is not None for each in row)
                lines.append(f"| {name} | {said_of(epsilon)} | {' | '.join(map(_entry, row))} |")
                for n, each in zip(SIZES, row, strict=True):
                    if each is not None and _is_outside(each):
                        cause = _cause_of(name, each, n=n, repetitions=repetitions)
                        where = f"{case.name} n {n} ε {said_of(epsilon)}: {100 * each.held:.1f}"
                        moved = f" ({each.lost_to_bins:+.3f})" if cause == "bins" else ""
                        outside[cause].append(f"{name}, {where}{moved}")
        parts.append("\n".join(lines) + "\n")
    total = sum(map(len, outside.values()))
    parts.append(f"### Outside 93–97 %, of classes\n\n{total} of {n_shown} that are shown.\n")
    for cause, said in CAUSES.items():
        if outside[cause]:
            parts.append(f"**{said}** ({len(outside[cause])})\n")
            parts.append("- " + "\n- ".join(outside[cause]) + "\n")
    return "\n".join(parts)


def _is_outside(found: ClassTally) -> bool:
    return not PROMISED[0] <= found.held <= PROMISED[1]


def _entry(found: ClassTally | None) -> str:
    if found is None:
        return "not shown"
    said = f"{100 * found.held:.1f} %"
    said = f"**{said}**" if _is_outside(found) else said
    return said if found.shown == 1 else f"{said} · {100 * found.shown:.0f} %"


def _cause_of(name: str, found: ClassTally, *, n: int, repetitions: int) -> str:
    """The first known cause that applies."""
    if name.startswith(_WIDE) and found.held > PROMISED[1]:
        return "wide"
    if abs(found.lost_to_bins) > 0.1 * found.width:
        return "bins"
    if found.shown < 0.99:
        return "selected"
    near = min(abs(found.held - end) for end in PROMISED)
    if near <= (0.95 * 0.05 / repetitions) ** 0.5:
        return "chance"
    return "few" if n == SIZES[0] else "unknown"
