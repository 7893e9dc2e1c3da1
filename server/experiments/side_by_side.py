"""Populations measured beside each other, each by a process of its own on one core.

A model is trained by one thread either way, so that a second core is of use to another population
alone. Systems that share cohorts stay in one process. Imports the harness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch

from server.experiments.harness import Line, measure_systems
from server.experiments.system import Setting, System

Progress = Callable[[Line], None]


def measure_side_by_side(
    systems: Sequence[System],
    setting: Setting,
    seeds: Sequence[int],
    *,
    work: Path,
    processes: int,
    progress: Progress | None = None,
) -> None:
    """As ``measure_systems``, which it is for one process.

    Args:
        systems: entries, of module ``systems`` or as picklable.
        setting: how much.
        seeds: of the populations.
        work: where lines, cohorts and outputs are kept.
        processes: at once, each on a core.
        progress: called with each new line, in the process that made it; picklable.

    Raises:
        Exception: what stopped a population, after the others ended; lines that are kept stay.
    """
    if processes == 1:
        measure_systems(systems, setting, seeds, work=work, progress=progress)
        return
    by_name: dict[str, list[System]] = {}
    for system in systems:
        by_name.setdefault(system.population.name, []).append(system)
    # a fresh interpreter each: a thread pool does not outlive a fork
    with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        waiting = [
            pool.submit(measure_systems, together, setting, [seed], work=work, progress=progress)
            for seed in seeds
            for together in by_name.values()
        ]
        for done in as_completed(waiting):
            done.result()
