"""Cases of bad hospitals and what came of them, as data: a line per training, kept in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

# Patients that each hospital trains on and declares; the first five, or all.
SIZES = (60, 90, 120, 150, 180, 210, 240)
# Which of so many hospitals are bad.
BAD: Mapping[int, tuple[int, ...]] = {5: (2,), 7: (2, 4)}
RULES = ("fedavg", "median", "trimmed_mean", "geometric_median")
ATTACKS = ("none", "label flip", "scaled", "sign flip", "random")
EPSILONS = (None, 3.0)
SEEDS = (301, 302, 304)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One training: so many hospitals, what the bad ones do, the rule, ε (None: off), a population."""

    n_sites: int
    attack: str
    rule: str
    epsilon: float | None
    seed: int


@dataclass(frozen=True, kw_only=True)
class Line:
    """What came of a case: R² and AUC on fresh patients, and the bad sites' mean kept share of 1."""

    case: Case
    r2: float
    auc: float
    kept: float


def list_cases(
    *, seeds: Sequence[int] = SEEDS, epsilons: Sequence[float | None] = EPSILONS
) -> Iterator[Case]:
    """Every case, population by population."""
    for seed, n_sites, epsilon, attack, rule in product(seeds, BAD, epsilons, ATTACKS, RULES):
        yield Case(n_sites=n_sites, attack=attack, rule=rule, epsilon=epsilon, seed=seed)


def read_lines(path: Path) -> list[Line]:
    """The lines of a file."""
    rows = [json.loads(text) for text in path.read_text().splitlines()]
    return [Line(**(row | {"case": Case(**row["case"])})) for row in rows]
