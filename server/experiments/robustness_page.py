"""Writes what bad hospitals cost as a page: no figure in it is typed by hand. Takes lines as data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from statistics import fmean, stdev

from scipy.stats import t as student

from server.experiments.robustness_lines import ATTACKS, BAD, EPSILONS, RULES, SIZES, Line

_SAYS = """# Bad hospitals

Written by `make robustness`; nothing here is typed by hand. The lines are in
`docs/data/robustness.jsonl`.

Femoral-neck BMD from clinical variables (`experiment=hip_table`) of synthetic patients; {sizes}
training patients in five hospitals, and {more} more in two others of seven. Bad are hospitals of middle
size, in every round, and never beyond the bound of a total, so that nothing of them is refused:

| what the bad do | how |
|---|---|
| label flip | their patients' BMD is mirrored about the public mean |
| scaled | ten times their total, or as much of it as the bound allows |
| sign flip | minus their total |
| random | a random direction, ten times as long as their total or up to the bound |

R² and AUC (osteoporosis) on {n_fresh} fresh patients of the training hospitals: mean over training
populations {seeds}, with the 95 % t interval of that mean; the noise of each training is its own. Kept:
what the rule kept of the bad hospitals, of 1 in all.

With privacy off nothing bounds a total that is folded at the coordinator; with ε each patient's
gradient is clipped, and a total is believed up to ten times what a hospital's declared patients can
add. No rule changes ε: it acts on totals that were noised before. Sites count alike under a robust
rule, and by size under `fedavg`. `strategy=median`, `trimmed_mean` and `geometric_median` are for
training by gradients; a rule that would withstand nobody is refused when the plan is written
(`settings.withstands-nobody`).
"""


def robustness_page(lines: Sequence[Line], *, n_fresh: int) -> str:
    """``docs/robustness.md``: for each number of hospitals and each ε, attack by rule."""
    seeds = sorted({line.case.seed for line in lines})
    parts = [
        _SAYS.format(
            sizes=", ".join(str(size) for size in SIZES[: min(BAD)]),
            more=" and ".join(str(size) for size in SIZES[min(BAD) :]),
            n_fresh=n_fresh,
            seeds=", ".join(str(seed) for seed in seeds),
        )
    ]
    for (n_sites, bad), epsilon in product(BAD.items(), EPSILONS):
        found = [line for line in lines if (line.case.n_sites, line.case.epsilon) == (n_sites, epsilon)]
        privacy = "privacy off" if epsilon is None else f"ε {epsilon:g}"
        parts += [f"## {len(bad)} of {n_sites} hospitals bad, {privacy}", "", *_table(found), ""]
    return "\n".join(parts)


def mean_and_half(values: Sequence[float]) -> tuple[float, float]:
    """The mean of populations, and half its 95 % t interval; NaN of one population."""
    if len(values) < 2:
        return fmean(values), math.nan
    quantile = float(student.ppf(0.975, len(values) - 1))
    return fmean(values), quantile * stdev(values) / math.sqrt(len(values))


def _table(lines: Sequence[Line]) -> list[str]:
    head = ["what the bad do", *(f"`{rule}`" for rule in RULES)]
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for attack in ATTACKS:
        cells = [
            _cell([line for line in lines if (line.case.attack, line.case.rule) == (attack, rule)])
            for rule in RULES
        ]
        rows.append(f"| {'nothing' if attack == 'none' else attack} | " + " | ".join(cells) + " |")
    return rows


def _cell(lines: Sequence[Line]) -> str:
    r2, auc = (_figure([getattr(line, name) for line in lines]) for name in ("r2", "auc"))
    return f"R² {r2}; AUC {auc}; kept {fmean(line.kept for line in lines):.2f}"


def _figure(values: Sequence[float]) -> str:
    mean, half = mean_and_half(values)
    return f"{mean:.3f} ± {half:.3f}"
