"""How often each interval of a table holds the truth, into docs/coverage.md: ``make coverage``.

``python tests/bench/coverage.py [--repetitions 1000]`` from the repository's root. Five populations,
four numbers of patients, exact tables and two ε; what a plan of so many patients does not show is not
measured.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "practice")]

if TYPE_CHECKING:
    from practice_coverage import Population, Tally

PAGE = ROOT / "docs" / "coverage.md"
SIZES, EPSILONS, DELTA = (50, 200, 800, 2000), (None, 3.0, 1.0), 1e-5
PROMISED = (0.93, 0.97)
LOUD = 0.015  # noise SD of a cell over the patients: ε = 3 at 200 and more
TITLES = {
    "n_patients": "Patients",
    "n_positive": "Positives",
    "auc": "AUC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "r2": "R²",
    "mae": "MAE, g/cm²",
    "rmse": "RMSE, g/cm²",
    "bias": "Bias, g/cm²",
    "limit_low": "Lower limit of agreement, g/cm²",
    "limit_high": "Upper limit of agreement, g/cm²",
}
INTRODUCTION = """# Coverage of intervals

Written by `make coverage`: {repetitions} repetitions of each cell, {minutes:.1f} minutes. A repetition
draws patients, makes their validation table, adds the noise of one ε (one table, δ {delta:g}; `off` is
an exact table) and reads it as a report does. What is shown is decided before, by the width that the
interval is expected to have with so many patients and the noise of the plan
(`shared/measure/table/expected.py`), never by what comes out. "Not shown" is what such a plan does not
show: where it is noised, what says too little; where it is exact, what is expected to be of fewer than
{minimum} patients. A cell says how often the 95 % interval held the truth · in how many repetitions
there was a figure, if not in all (noise may leave no patient of a class) · the mean width of the
interval. With {repetitions} repetitions a share of 95 % has a standard error of {error:.1f} points.
Promised is 93 to 97 %; **bold** lies outside, and the last section says why, as far as it is known. An
exact count has no interval: it is right.

Targets are femoral neck BMD with SD {sd} g/cm²; positive is ≤ {threshold}. A calibrated prediction
explains {r2:.0%} of them.

| population | prevalence | the model |
|---|---|---|
{populations}

Truth is the population's own (one draw of {truth:,} patients), the AUC's without bins; counts are held
against the patients who were drawn. Errors and targets are cut to the table's public bounds
(±{error_high} and {target_low}–{target_high} g/cm²), as a table does. The bounds move a figure by the
following, which no interval holds:

| population | R² | MAE | RMSE | bias | limits |
|---|---|---|---|---|---|
{moved}

Score bins are those of `shared/measure/table/bins.py` for {bins}.

How: a limit of agreement moves with the mean error and with the mean square, and its variance holds the
covariance of both, of sampling and of noise. R² has the covariance of SSE and SST, which follows from
the table's Σu·v; the kurtosis of errors is read from the ratio of MAE to SD
(`shared/measure/table/spread.py`). The AUC's variance is DeLong's from the histogram.
"""
CLASS_SIZES = (200, 800, 2000)
CLASSES_INTRODUCTION = """## What else a table says of classes

Half as many repetitions. Calibrated probabilities of two classes (a fifth are ill) and of three, and a
BMD with two cuts; truth is the same figures of half a million patients in 64 bins. A Brier score and a
calibration error hold the truth more often than they say by design: the spread of a square is bounded
from above, and chance lifts an error. Ties within bins move an AUC and a calibration, which no interval
holds; ratios of noisy counts are not normal where the counts are small.
"""
CAUSES = {
    "rare": "Fewer than ten patients are expected on one side of the share, where Wilson's interval is "
    "known to jump, since only whole patients can be counted (Brown, Cai & DasGupta 2001).",
    "selected": "In over 1 % of the repetitions chance or noise left no patient of a class: the "
    "coverage is that of the other tables, and no interval promises it.",
    "bins": "Ties within bins move the AUC (by the figure in brackets, over that of the scores); the "
    "interval holds noise and sampling, not this.",
    "few": "Fifty patients: the mean of skewed or squared errors is not normal yet, and Student's "
    "correction does not mend all of it.",
    "noise": "Noise is as large as the figure: ratios and roots of noisy sums are not normal.",
    "tails": "Errors have heavy tails: their kurtosis is guessed from the MAE and, where noise hides "
    "it, drawn towards that of normal errors.",
    "cut": "Public bounds cut the target's tails, so its square varies less than that of a normal "
    "target, which the interval supposes.",
    "chance": "Within one standard error of the range.",
    "unknown": "Not known.",
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One population, size and ε."""

    population: Population
    n: int
    epsilon: float | None
    bins: int
    noise_share: float  # noise SD of a cell over the patients
    found: dict[str, Tally]

    @property
    def place(self) -> str:
        """As the page names it."""
        return f"{self.population.name} n {self.n} ε {_said(self.epsilon)}"


def _said(epsilon: float | None) -> str:
    return "off" if epsilon is None else f"{epsilon:g}"


def measure(repetitions: int) -> list[Cell]:
    """Every cell, with a line to stderr each."""
    from practice_coverage import BMD, POPULATIONS, tally, with_bins

    from shared.measure.table.bins import bins_for
    from shared.measure.table.spec import sensitivity
    from shared.privacy.accountant import calibrate

    cells = []
    for place, population in enumerate(POPULATIONS):
        for epsilon in EPSILONS:
            multiplier = 0.0 if epsilon is None else calibrate(epsilon, DELTA)
            for n in SIZES:
                bins = bins_for(
                    noise_multiplier=multiplier,
                    sensitivity=sensitivity(BMD),
                    weight=BMD.cell_weight,
                    n_patients=n,
                )
                found = tally(
                    population,
                    n,
                    spec=with_bins(bins),
                    multiplier=multiplier,
                    repetitions=repetitions,
                    seed=1000 * n + place,
                )
                cells.append(
                    Cell(
                        population=population,
                        n=n,
                        epsilon=epsilon,
                        bins=bins,
                        noise_share=multiplier * sensitivity(BMD) / n,
                        found=found,
                    )
                )
                sys.stderr.write(f"{cells[-1].place}\n")
    return cells


def is_outside(tally: Tally) -> bool:
    """Whether the coverage lies outside what is promised; what has no interval promises nothing."""
    return (
        tally.reach.size > 0 and tally.width > 0 and not PROMISED[0] <= tally.coverage() <= PROMISED[1]
    )


def cause_of(name: str, cell: Cell) -> str:
    """Why a cell lies outside, the first known cause that applies to it."""
    tally, population, is_exact = cell.found[name], cell.population, cell.epsilon is None
    if tally.shown < 0.99:
        return "selected"
    if name in ("sensitivity", "specificity") and expected_fewest(name, cell) < 10:
        return "rare"
    if name == "auc" and abs(lost_to_bins(population, cell.bins)) > 0.1 * tally.width:
        return "bins"
    near = min(abs(tally.coverage() - end) for end in PROMISED)
    if near <= (0.95 * 0.05 / tally.reach.size) ** 0.5:
        return "chance"
    if is_exact and name == "r2" and tally.coverage() > PROMISED[1]:
        return "cut"
    if not is_exact and cell.noise_share > LOUD:
        return "noise"
    if is_exact and cell.n == SIZES[0]:
        return "few"
    is_square = name in ("r2", "rmse", "limit_low", "limit_high")
    return "tails" if population.has_heavy_tails and is_square else "unknown"


def expected_fewest(name: str, cell: Cell) -> float:
    """Patients expected to be called rightly or wrongly, whichever are fewer."""
    share = cell.population.truth()[name][0]
    of_class = cell.population.prevalence
    of_class = of_class if name == "sensitivity" else 1 - of_class
    return cell.n * of_class * min(share, 1 - share)


def lost_to_bins(population: Population, bins: int) -> float:
    """AUC of the population's bins less that of its scores."""
    from practice_coverage import binned_auc

    return binned_auc(population, bins) - population.truth()["auc"][0]


def write(cells: list[Cell], *, repetitions: int, minutes: float) -> None:
    """The page."""
    from practice_coverage import (
        BMD,
        MINIMUM_CELL,
        R2,
        SD_TARGET,
        THRESHOLD,
        TRUTH_PATIENTS,
    )

    populations = list(dict.fromkeys(cell.population for cell in cells))
    bins = defaultdict(list)
    for cell in cells:
        if cell.population is populations[0]:
            bins[_said(cell.epsilon)].append(str(cell.bins))
    parts = [
        INTRODUCTION.format(
            repetitions=repetitions,
            minutes=minutes,
            delta=DELTA,
            minimum=MINIMUM_CELL,
            error=100 * (0.95 * 0.05 / repetitions) ** 0.5,
            sd=SD_TARGET,
            threshold=THRESHOLD,
            r2=R2,
            populations="\n".join(
                f"| {each.name} | {each.prevalence:.2f} | {each.model} |" for each in populations
            ),
            truth=TRUTH_PATIENTS,
            error_high=BMD.error_high,
            target_low=BMD.target_low,
            target_high=BMD.target_high,
            moved="\n".join(_moved(each) for each in populations),
            bins="; ".join(
                f"ε {said}: {', '.join(each)} at n {', '.join(map(str, SIZES))}"
                for said, each in bins.items()
            ),
        )
    ]
    for name, title in TITLES.items():
        parts.append(f"## {title}\n\n" + _table(name, cells, populations))
    parts.append(_outside(cells))
    parts.append(_of_classes(repetitions))
    PAGE.write_text("\n".join(parts))


def _of_classes(repetitions: int) -> str:
    """What else tables say of classes: a row per figure and ε, and those outside."""
    from practice_class_coverage import CASES, tally_classes

    from shared.privacy.accountant import calibrate

    parts, n_shown, outside = [CLASSES_INTRODUCTION], 0, []
    for place, case in enumerate(CASES):
        found = {}
        for epsilon in EPSILONS:
            multiplier = 0.0 if epsilon is None else calibrate(epsilon, DELTA)
            for n in CLASS_SIZES:
                found[epsilon, n] = tally_classes(
                    case,
                    n,
                    multiplier=multiplier,
                    repetitions=repetitions // 2,
                    seed=7000 * n + place,
                )
                sys.stderr.write(f"{case.name} n {n} ε {_said(epsilon)}\n")
        names = dict.fromkeys(name for each in found.values() for name in each)
        lines = [
            f"### {case.name.capitalize()}\n",
            f"| figure | ε | {' | '.join(f'n {n}' for n in CLASS_SIZES)} |",
            f"|---|---|{'---|' * len(CLASS_SIZES)}",
        ]
        for name in names:
            for epsilon in EPSILONS:
                row = []
                for n in CLASS_SIZES:
                    held, shown = found[epsilon, n].get(name, (float("nan"), 0.0))
                    if not shown:
                        row.append("not shown")
                        continue
                    n_shown += 1
                    said = f"{100 * held:.1f} %"
                    if not PROMISED[0] <= held <= PROMISED[1]:
                        outside.append(f"{case.name}, {name}, ε {_said(epsilon)}, n {n}: {said}")
                        said = f"**{said}**"
                    row.append(said if shown == 1 else f"{said} · {100 * shown:.0f} %")
                lines.append(f"| {name} | {_said(epsilon)} | {' | '.join(row)} |")
        parts.append("\n".join(lines) + "\n")
    parts.append(f"{len(outside)} of {n_shown} that are shown lie outside 93–97 %.\n")
    return "\n".join(parts)


def _moved(population: Population) -> str:
    truth = population.truth()
    moved = {name: bounded - free for name, (bounded, free) in truth.items()}
    limits = f"{moved['limit_low']:+.4f}, {moved['limit_high']:+.4f}"
    figures = [f"{moved[name]:+.4f}" for name in ("r2", "mae", "rmse", "bias")]
    return f"| {population.name} | {' | '.join([*figures, limits])} |"


def _table(name: str, cells: list[Cell], populations: list[Population]) -> str:
    lines = [
        f"| population | ε | {' | '.join(f'n {n}' for n in SIZES)} |",
        f"|---|---|{'---|' * len(SIZES)}",
    ]
    for population in populations:
        for epsilon in EPSILONS:
            row = [c for c in cells if c.population is population and c.epsilon == epsilon]
            said = " | ".join(_entry(cell.found[name], name) for cell in row)
            lines.append(f"| {population.name} | {_said(epsilon)} | {said} |")
    return "\n".join(lines) + "\n"


def _entry(tally: Tally, name: str) -> str:
    if tally.reach.size == 0:
        return "not shown"
    coverage = f"{100 * tally.coverage():.1f} %"
    coverage = f"**{coverage}**" if is_outside(tally) else coverage
    shown = "" if tally.shown == 1 else f" · {100 * tally.shown:.0f} %"
    width = f"{tally.width:.1f}" if name.startswith("n_") else f"{tally.width:.3f}"
    return f"{coverage}{shown} · {width}"


def _outside(cells: list[Cell]) -> str:
    outside: dict[str, dict[str, list[str]]] = {cause: defaultdict(list) for cause in CAUSES}
    figures = [(name, cell) for name in TITLES for cell in cells if cell.found[name].width > 0]
    for name, cell in figures:
        tally = cell.found[name]
        if is_outside(tally):
            cause = cause_of(name, cell)
            said = f"{cell.place}: {100 * tally.coverage():.1f}"
            if cause == "bins":
                said += f" ({lost_to_bins(cell.population, cell.bins):+.3f})"
            outside[cause][TITLES[name].split(",")[0]].append(said)
    total = sum(len(each) for named in outside.values() for each in named.values())
    parts = [f"## Outside 93–97 %\n\n{total} of {len(figures)} intervals that are shown.\n"]
    for cause, named in outside.items():
        if named:
            parts.append(f"**{CAUSES[cause]}** ({sum(map(len, named.values()))})\n")
            parts += [f"- {title}: {'; '.join(places)}" for title, places in named.items()]
            parts.append("")
    return "\n".join(parts)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repetitions", type=int, default=1000)
    repetitions = parser.parse_args().repetitions
    start = time.perf_counter()
    cells = measure(repetitions)
    write(cells, repetitions=repetitions, minutes=(time.perf_counter() - start) / 60)


if __name__ == "__main__":
    main()
