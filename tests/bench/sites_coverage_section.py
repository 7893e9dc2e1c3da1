"""The section of docs/coverage.md on several hospitals; ``coverage.py`` measures and writes it.

``python tests/bench/sites_coverage_section.py`` measures this section alone, into its data.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from coverage_cells import DELTA, PROMISED, said_of

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "docs" / "data" / "coverage_sites.json"
N_SITES, SPREADS, EPSILONS = (3, 8), (0.0, 0.4), (None, 3.0)
INTRODUCTION = """## Several hospitals

{repetitions} repetitions. Hospitals of {sizes} patients in turn, {prevalence:.0%} of them ill; the
logit of a hospital's AUC lies about {logit} with the SD τ over hospitals. Truth is of the scores
without bins: the mean's is that of the middle hospital, a prediction's the AUC of one hospital more,
the pooled AUC's and a difference's that of these hospitals' patients. The mean without each site in
turn starts at four sites. Subgroups (every other patient) and the paired difference have
{measure_bins} bins, as they are shipped. A cell says how often the interval held the truth · its mean
width; **bold** lies outside 93–97 %, and (in brackets) is then how often it held what bins make of the
truth, which has no ties but theirs. Every figure is read, also those that a plan would not show.
"""
_BELOW = (
    "Below 93 %: ties within bins",
    "the same interval holds what bins make of the truth in 93 % or more, and not the truth of the "
    "scores",
)
_BELOW_UNKNOWN = (
    "Below 93 %: not known",
    "it does not hold what bins make of the truth in 93 % either",
)
_ABOVE = (
    "Above 97 %",
    "wider than it need be. Of the mean of few or of equal sites that is Student's quantile with the "
    "floor under the variance (Röver et al. 2015), which this run does not take apart",
)


def measure_sites(repetitions: int) -> None:
    """Every cell, into the data."""
    from practice_sites_coverage import LOGIT, MEASURE_BINS, PREVALENCE, SIZES, tally_sites

    from shared.privacy.accountant import calibrate

    cells = []
    for place, (n_sites, spread, epsilon) in enumerate(
        (n, spread, epsilon) for n in N_SITES for spread in SPREADS for epsilon in EPSILONS
    ):
        multiplier = 0.0 if epsilon is None else calibrate(epsilon, DELTA)
        found = tally_sites(
            n_sites, spread, multiplier=multiplier, repetitions=repetitions, seed=9000 + place
        )
        cell = {"n_sites": n_sites, "spread": spread, "epsilon": epsilon}
        cells.append(cell | {"figures": {name: asdict(each) for name, each in found.items()}})
        sys.stderr.write(f"{n_sites} hospitals τ {spread:g} ε {said_of(epsilon)}\n")
    data = {
        "ties": _ties(repetitions),
        "repetitions": repetitions,
        "sizes": SIZES,
        "prevalence": PREVALENCE,
        "logit": LOGIT,
        "measure_bins": MEASURE_BINS,
        "cells": cells,
    }
    DATA.write_text(json.dumps(data, indent=1) + "\n")


def _ties(repetitions: int) -> list[dict[str, Any]]:
    """AUCs of three classes whose intervals hold too little: how often, and how often that of bins."""
    from practice_class_coverage import CASES, tally_classes

    from shared.privacy.accountant import calibrate

    case = next(each for each in CASES if each.name == "three classes")
    rows = []
    for n, epsilon in ((800, 3.0), (2000, 3.0), (2000, 1.0)):
        found = tally_classes(
            case, n, multiplier=calibrate(epsilon, DELTA), repetitions=repetitions, seed=9500 + n
        )
        rows += [
            {"figure": name, "n": n, "epsilon": epsilon} | asdict(each)
            for name, each in found.items()
            if name.startswith("AUC")
        ]
    return rows


def sites_section() -> str:
    """The section, of its data alone."""
    data = json.loads(DATA.read_text())
    sizes = ", ".join(map(str, data["sizes"]))
    cells = data["cells"]
    heads = [
        f"{each['n_sites']} sites, τ {each['spread']:g}, ε {said_of(each['epsilon'])}" for each in cells
    ]
    names = dict.fromkeys(name for each in cells for name in each["figures"])
    lines = [f"| figure | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    lines += [
        f"| {name} | {' | '.join(_entry(each['figures'].get(name)) for each in cells)} |"
        for name in names
    ]
    return "\n".join(
        [
            INTRODUCTION.format(**data | {"sizes": sizes}),
            *lines,
            "",
            _outside(cells, heads),
            *_of_ties(data),
        ]
    )


def _of_ties(data: dict[str, Any]) -> list[str]:
    """Whether ties within bins are why an AUC of three classes is held too rarely."""
    return [
        "### Why AUCs of three classes are held too rarely\n",
        "Where noise asks for few bins, ties within them pull an AUC towards .5, and no interval of "
        "sampling and noise holds that. Held against what bins make of the truth, the same intervals "
        "hold it as often as in the last column. More bins would be noisier: their number is that of "
        "the least error, bias included (`shared/measure/table/bins.py`).\n",
        "| figure | n | ε | ties move it | held | held, of bins |\n|---|---|---|---|---|---|",
        *(
            f"| {each['figure']} | {each['n']} | {each['epsilon']:g} | {each['lost_to_bins']:+.3f} "
            f"| {100 * each['held']:.1f} % | {100 * each['held_of_bins']:.1f} % |"
            for each in data["ties"]
        ),
        "",
    ]


def _is_outside(found: dict[str, Any]) -> bool:
    return not PROMISED[0] <= found["held"] <= PROMISED[1]


def _entry(found: dict[str, Any] | None) -> str:
    if found is None:
        return "–"
    said = f"{100 * found['held']:.1f} %"
    if _is_outside(found):
        said = f"**{said}** ({100 * found['held_of_bins']:.1f})"
    return f"{said} · {found['width']:.3f}"


def _outside(cells: list[dict[str, Any]], heads: list[str]) -> str:
    """Which lie outside, each under a cause that was measured, or none."""
    listed: dict[tuple[str, str], list[str]] = {_BELOW: [], _BELOW_UNKNOWN: [], _ABOVE: []}
    for cell, head in zip(cells, heads, strict=True):
        for name, found in cell["figures"].items():
            if _is_outside(found):
                listed[_cause_of(found)].append(f"{name}, {head}")
    parts = ["### Outside 93–97 %, of several hospitals\n"]
    for (title, why), named in listed.items():
        if named:
            parts.append(f"**{title}** ({len(named)}): {why}.\n")
            parts += [f"- {each}" for each in named]
            parts.append("")
    return "\n".join(parts)


def _cause_of(found: dict[str, Any]) -> tuple[str, str]:
    if found["held"] > PROMISED[1]:
        return _ABOVE
    return _BELOW if found["held_of_bins"] >= PROMISED[0] else _BELOW_UNKNOWN


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "practice")]
    measure_sites(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
