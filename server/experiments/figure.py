"""Measured figures as data: what the arms of an experiment reach, with their intervals."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One arm on one group of fresh patients: value, 95 % interval."""

    r2: tuple[float, float, float]
    mae: float
    auc: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One arm: medians over seeds, with the interval of the median seed."""

    head: str
    arm: str
    epsilon: float | None
    internal: Figure
    external: Figure
    seeds_r2: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """All rows, and the comparisons that the README quotes."""

    rows: tuple[Row, ...]
    ceilings: dict[str, dict[str, float]]
    federated_minus_smallest_alone: dict[str, tuple[float, float, float]]
    n_internal: int
    n_external: int
    seeds: tuple[int, ...]
    operating_points: tuple[float, ...]
    measured_utc: str
