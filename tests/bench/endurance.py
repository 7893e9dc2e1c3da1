"""What many rounds, many hospitals and a large model cost in memory and time, and that nothing is lost.

``make soak`` plays each part in processes of its own and writes docs/data/endurance.json and
docs/endurance.md; ``ARGS="--only soak"`` measures one part again, and the page names those that wait. A
part that lost a round, charged a round twice or not at all, or whose memory grows, ends with an error
after the page is written.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "practice")]

import numpy as np  # noqa: E402

from client.gate.ledger import Ledger  # noqa: E402
from client.site.folder import open_site  # noqa: E402
from server.run.folder import RunStore, open_run  # noqa: E402
from tests.bench.endurance_page import (  # noqa: E402
    LARGE_MODEL,
    LARGE_PATIENTS,
    LARGE_ROUNDS,
    LARGE_SITES,
    MANY_ROUNDS,
    MANY_SITES,
    PARTS,
    SOAK_ROUNDS,
    SOAK_SITES,
    WARM_UP,
    broken,
    page,
)

DATA, PAGE = ROOT / "docs" / "data" / "endurance.json", ROOT / "docs" / "endurance.md"
MIB, SAMPLE_S = 2**20, 0.2
ONE_STEP = ("federation.local_steps=1", "federation.learning_rate=0.5", "federation.fold=site")


@dataclass
class Memory:
    """Memory of a process and its descendants, MiB, by the seconds when it was read."""

    read: list[tuple[float, float]] = field(default_factory=list)

    def at(self, utc: datetime) -> float:
        """The most of what was read within two seconds after a time."""
        start = utc.timestamp()
        return max((mib for when, mib in self.read if start <= when <= start + 2), default=float("nan"))

    @property
    def peak(self) -> float:
        """The most of all."""
        return max(mib for _, mib in self.read)


@contextmanager
def watched(pid: int) -> Iterator[Memory]:
    """Read the memory of a process and its descendants until the block ends."""
    memory, is_over = Memory(), threading.Event()

    def watch() -> None:
        while not is_over.wait(SAMPLE_S):
            memory.read.append((time.time(), sum(map(_resident, _family(pid))) / MIB))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield memory
    finally:
        is_over.set()
        thread.join()


def _resident(pid: int) -> int:
    """What a process holds for itself, bytes: no code, and what a fork shares counts once in all.

    Pages of files would be divided by whoever else on the machine has loaded the same libraries.
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0  # it has ended
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon:")), 0)


def _family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(each) for task in tasks for each in (task / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *(each for child in children for each in _family(child))]


def _found_tables(folder: Path, n_sites: int, said: Sequence[str]) -> None:
    """A federation of tables: sites share rows of one table, under names of their own."""
    from table_federation import found_tables, write_table

    draw = np.random.default_rng(1)
    archives = {}
    for number in range(n_sites):
        name = f"site-{number + 1:02}"
        rows = sorted(draw.choice(569, 120, replace=False).tolist())
        write_table(folder / "archives" / name / "clinical.csv", rows)
        archives[name] = folder / "archives" / name
    found_tables(
        folder,
        archives,
        external=[],
        overrides=said,
        policy={"allows_privacy_off": True},
        declared_patients=80,
    )


def _play(folder: Path) -> None:
    from server.engines.launch import launch_stage

    store = open_run(folder / "coordinator" / "runs" / "cytology")
    sites = {entry.site: folder / "sites" / entry.site for entry in store.plan.roster}
    launch_stage(store, "train", site_folders=sites)


def _in_a_process(folder: Path, what: str) -> Memory:
    """Play what was founded in a process of its own; its memory."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        [sys.executable, __file__, "--play", what, str(folder)],
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    with watched(child.pid) as memory:
        code = child.wait()
    if code:
        raise SystemExit(f"{what}: the federation ended with {code}")
    return memory


def _counted(store: RunStore, folders: Mapping[str, Path]) -> dict[str, Any]:
    """Rounds of a run, and what every ledger holds of them."""
    charges = {}
    for name, folder in folders.items():
        site = open_site(folder)
        ledger = Ledger(site.folder / "ledger", site=site.name, key=site.key, clock=site.clock)
        ledger.verify()
        charges[name] = sum(row.kind == "charge" and row.purpose == "train" for row in ledger.show())
    return {
        "rounds": store.training.last_committed().round,
        "charges": [min(charges.values()), max(charges.values())],
        "missed": sum(bool(event.site) for event in store.events()),
    }


def _tables(folder: Path) -> tuple[RunStore, dict[str, Path]]:
    store = open_run(folder / "coordinator" / "runs" / "cytology")
    return store, {entry.site: folder / "sites" / entry.site for entry in store.plan.roster}


def _seconds_by_round(store: RunStore) -> list[float]:
    started, committed = store.times()
    stamps = [started, *(committed[number] for number in sorted(committed))]
    return [(after - before).total_seconds() for before, after in pairwise(stamps)]


def measure_soak(folder: Path) -> dict[str, Any]:
    """200 rounds of three sites by the local engine: memory and time of early and late rounds."""
    said = (
        f"federation.rounds={SOAK_ROUNDS}",
        "federation.local_steps=1",
        "federation.learning_rate=0.5",
    )
    _found_tables(folder, SOAK_SITES, (*said, "federation.fold=site"))
    memory = _in_a_process(folder, "tables")
    store, folders = _tables(folder)
    _, committed = store.times()
    seconds = _seconds_by_round(store)
    thirds = (seconds[WARM_UP : SOAK_ROUNDS // 3], seconds[2 * SOAK_ROUNDS // 3 :])
    early, late = (float(np.median(each)) for each in thirds)
    marks = (WARM_UP, 50, 100, 150, SOAK_ROUNDS)
    held = {number: memory.at(committed[number]) for number in marks if number < SOAK_ROUNDS}
    held[SOAK_ROUNDS] = next(
        mib for _, mib in reversed(memory.read) if mib
    )  # 0 of a process that ended
    return {
        "sites": SOAK_SITES,
        **_counted(store, folders),
        "memory_mib": {str(number): round(mib, 1) for number, mib in held.items()},
        "early_s": round(early, 4),
        "late_s": round(late, 4),
    }


def measure_many(engine: str) -> Callable[[Path], dict[str, Any]]:
    """50 sites × 5 rounds by an engine, without noise: the weights are kept for a comparison."""

    def measure(folder: Path) -> dict[str, Any]:
        said = (
            f"engine={engine}",
            "privacy=off",
            "privacy.sample_rate=1",
            f"federation.rounds={MANY_ROUNDS}",
            *ONE_STEP,
        )
        _found_tables(folder, MANY_SITES, said)
        memory = _in_a_process(folder, "tables")
        store, folders = _tables(folder)
        return {
            "sites": MANY_SITES,
            **_counted(store, folders),
            "seconds": round(sum(_seconds_by_round(store)), 1),
            "peak_mib": round(memory.peak),
            "weights": store.averaged().tolist(),
        }

    return measure


def measure_large(folder: Path) -> dict[str, Any]:
    """A model of 100 MB over real processes, under patient-level DP."""
    from server.experiments.populations import HIP_FILMS, draw_hospital

    for hospital in (*HIP_FILMS.training[:LARGE_SITES], HIP_FILMS.external[0]):
        draw_hospital(HIP_FILMS, folder / "drawn", hospital, seed=1, n_patients=LARGE_PATIENTS)
    memory = _in_a_process(folder, "large")
    store, folders = _large(folder)
    n_weights = len(store.averaged())
    return {
        "sites": LARGE_SITES,
        **_counted(store, folders),
        "n_weights": n_weights,
        "model_mb": round(n_weights * 4 / 1e6, 1),
        "epsilon": store.plan.predicted.training_epsilon,
        "seconds": [round(each, 1) for each in _seconds_by_round(store)],
        "peak_mib": round(memory.peak),
    }


def _large(folder: Path) -> tuple[RunStore, dict[str, Path]]:
    from server.federation.folder import Home
    from server.simulation.hospitals import Folders
    from server.simulation.play import RUN

    folders = Folders(folder / "run")
    store = open_run(Home(folders.home).run_folder(RUN))
    names = [entry.site for entry in store.plan.roster if entry.role == "training"]
    return store, {name: folders.site(name) for name in names}


def _play_large(folder: Path) -> None:
    from server.experiments.populations import HIP_FILMS, draw_hospital
    from server.simulation.request import Request
    from server.simulation.simulate import run_request

    def drawn(hospital: str) -> tuple[str, Path]:
        return draw_hospital(HIP_FILMS, folder / "drawn", hospital, seed=1, n_patients=LARGE_PATIENTS)

    request = Request(
        training=tuple(map(drawn, HIP_FILMS.training[:LARGE_SITES])),
        external=(drawn(HIP_FILMS.external[0]),),
        cohort=HIP_FILMS.cohort,
        overrides=(
            "experiment=xattn_bmd",
            *LARGE_MODEL,
            f"federation.rounds={LARGE_ROUNDS}",
            "engine=deployed",
            "is_synthetic=true",
        ),
    )
    run_request(request, folder / "run")


MEASURE: dict[str, Callable[[Path], dict[str, Any]]] = {
    "soak": measure_soak,
    "local": measure_many("local"),
    "ray": measure_many("ray"),
    "large": measure_large,
}


def main() -> None:
    """From the words of a command line."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, default=[])
    parser.add_argument("--play", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.play:
        what, folder = given.play
        (_play_large if what == "large" else _play)(Path(folder))
        return
    figures = json.loads(DATA.read_text()) if DATA.exists() else {}
    for name in given.only or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            measured = {"measured": datetime.now(UTC).date().isoformat(), "cores": os.cpu_count()}
            figures[name] = MEASURE[name](Path(folder)) | measured
        DATA.write_text(json.dumps(figures, indent=1) + "\n")
        PAGE.write_text(page(figures))
        sys.stdout.write(f"{name}: measured\n")
    if broken(figures):
        raise SystemExit("; ".join(broken(figures)))


if __name__ == "__main__":
    main()
