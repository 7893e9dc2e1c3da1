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
from pathlib import Path
from typing import TYPE_CHECKING

from coverage_cells import DELTA, EPSILONS, SIZES, TITLES, Cell, entry, outside_of, said_of

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "practice")]

if TYPE_CHECKING:
    from practice_coverage import Population

PAGE = ROOT / "docs" / "coverage.md"
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
Promised is 93 to 97 %; **bold** lies outside, and a section of that name says how many do and why, as
far as it is known. An exact count has no interval: it is right.

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


def write(cells: list[Cell], *, repetitions: int, minutes: float) -> None:
    """The page."""
    from class_coverage_section import classes_section
    from exact_coverage_section import exact_section
    from practice_coverage import (
        BMD,
        MINIMUM_CELL,
        R2,
        SD_TARGET,
        THRESHOLD,
        TRUTH_PATIENTS,
    )
    from sites_coverage_section import measure_sites, sites_section

    populations = list(dict.fromkeys(cell.population for cell in cells))
    bins = defaultdict(list)
    for cell in cells:
        if cell.population is populations[0]:
            bins[said_of(cell.epsilon)].append(str(cell.bins))
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
    parts.append("## Outside 93–97 %\n\n" + outside_of(cells))
    parts.append(exact_section(repetitions, populations))
    parts.append(classes_section(repetitions))
    measure_sites(max(repetitions // 2, 1))
    parts.append(sites_section())
    PAGE.write_text("\n".join(parts))


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
            said = " | ".join(entry(cell.found[name], name) for cell in row)
            lines.append(f"| {population.name} | {said_of(epsilon)} | {said} |")
    return "\n".join(lines) + "\n"


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
