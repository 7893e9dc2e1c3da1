"""What sections of docs/coverage.md share: a cell of the page, and why one lies outside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from practice_coverage import Population, Tally

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
CAUSES = {
    "rare": "Fewer than ten patients are expected on one side of the share, where Wilson's interval is "
    "known to jump, since only whole patients can be counted (Brown, Cai & DasGupta 2001).",
    "selected": "In over 1 % of the repetitions there is no figure, since chance or noise left nobody "
    "of a class or, of an exact share, fewer than ten on a side: the coverage is that of the others, "
    "and no interval promises it.",
    "bins": "Ties within bins move the AUC (by the figure in brackets, over that of the scores); the "
    "interval holds noise and sampling, not this.",
    "few": "Fifty patients: the mean of skewed or squared errors is not normal yet, and a table's "
    "Student correction does not mend all of it.",
    "noise": "Noise is as large as the figure: ratios and roots of noisy sums are not normal.",
    "tails": "Errors have heavy tails: a table guesses their kurtosis from the MAE and, where noise "
    "hides it, draws it to that of normal errors; exact squares of few patients say too little of it.",
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
    bins: int  # 0 of exact figures, which have none
    noise_share: float  # noise SD of a cell over the patients
    found: dict[str, Tally]

    @property
    def place(self) -> str:
        """As the page names it."""
        return f"{self.population.name} n {self.n} ε {said_of(self.epsilon)}"


def said_of(epsilon: float | None) -> str:
    """An ε as the page writes it."""
    return "off" if epsilon is None else f"{epsilon:g}"


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
    if name == "auc" and cell.bins and abs(lost_to_bins(population, cell.bins)) > 0.1 * tally.width:
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


def entry(tally: Tally, name: str) -> str:
    """A cell of a table."""
    if tally.reach.size == 0:
        return "not shown"
    coverage = f"{100 * tally.coverage():.1f} %"
    coverage = f"**{coverage}**" if is_outside(tally) else coverage
    shown = "" if tally.shown == 1 else f" · {100 * tally.shown:.0f} %"
    width = f"{tally.width:.1f}" if name.startswith("n_") else f"{tally.width:.3f}"
    return f"{coverage}{shown} · {width}"


def outside_of(cells: Sequence[Cell]) -> str:
    """Which intervals lie outside what is promised, by their first known cause."""
    outside: dict[str, dict[str, list[str]]] = {cause: defaultdict(list) for cause in CAUSES}
    figures = [
        (name, cell)
        for name in TITLES
        for cell in cells
        if name in cell.found and cell.found[name].width > 0
    ]
    for name, cell in figures:
        tally = cell.found[name]
        if is_outside(tally):
            cause = cause_of(name, cell)
            said = f"{cell.place}: {100 * tally.coverage():.1f}"
            if cause == "bins":
                said += f" ({lost_to_bins(cell.population, cell.bins):+.3f})"
            outside[cause][TITLES[name].split(",")[0]].append(said)
    total = sum(len(each) for named in outside.values() for each in named.values())
    parts = [f"{total} of {len(figures)} intervals that are shown.\n"]
    for cause, named in outside.items():
        if named:
            parts.append(f"**{CAUSES[cause]}** ({sum(map(len, named.values()))})\n")
            parts += [f"- {title}: {'; '.join(places)}" for title, places in named.items()]
            parts.append("")
    return "\n".join(parts)
