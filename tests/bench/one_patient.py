"""What one patient with 2,001 rows adds to the time and memory of a hospital's answers: nothing to see.

``make measure-patient``. Two hospitals of 200 patients, one of which has that patient besides, answer a
round of training, each in a process of its own, by turns; the least of a number of tries counts. Also
what the places without a patient cost. Ends with an error beyond the limits. Writes
docs/data/one-patient.json and docs/one-patient.md.
"""

from __future__ import annotations

import csv
import importlib
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "practice")]

import shared.stages.gradient  # noqa: E402
from client.intake.ingest import ingest, intake_site  # noqa: E402
from client.node.executor import PRELOADED  # noqa: E402
from client.rehearsal.round import peak_memory  # noqa: E402
from client.site.folder import open_site  # noqa: E402
from shared.signing.code_hash import installed_code_hash  # noqa: E402

DATA, PAGE = ROOT / "docs" / "data" / "one-patient.json", ROOT / "docs" / "one-patient.md"
SITE, PATIENTS, ROWS, DECLARED = "elm", 200, 2001, 140
TRIES, STEPS, MIB = 5, 200, 2**20
MOST_CPU, MOST_MEMORY, MOST_PADDING = 0.02, 0.01, 0.3
SAID = (
    f"federation.rounds={TRIES + 1}",
    f"federation.local_steps={STEPS}",
    "federation.learning_rate=0.5",
    "federation.fold=site",
)
PLAIN, HEAVY, UNPADDED = "plain", "heavy", "unpadded"


def found(folder: Path, *, is_heavy: bool) -> str:
    """A hospital with its approved plan in a folder; the plan's hash."""
    from table_federation import found_tables, write_table

    archive = folder / "archives" / SITE
    write_table(archive / "clinical.csv", range(PATIENTS))
    store, folders = found_tables(
        folder, {SITE: archive}, external=[], overrides=SAID, declared_patients=DECLARED
    )
    if is_heavy:
        _add_heavy_patient(archive / "clinical.csv")
        ingest(archive, intake_site(open_site(folders[SITE])), schema=store.plan.settings.cohort)
    return store.plan.sha256


def _add_heavy_patient(table: Path) -> None:
    """One who came on every day of five years, each time as the last patient of the table."""
    with table.open(newline="") as stream:
        *_, last = csv.reader(stream)
    days = (date(2014, 1, 1) + timedelta(days=number) for number in range(ROWS))
    with table.open("a", newline="") as stream:
        csv.writer(stream).writerows(["P99999", day.isoformat(), *last[2:]] for day in days)


def answer(folder: Path, plan_sha256: str, round_number: int, *, is_padded: bool) -> dict[str, float]:
    """CPU seconds of a round, and the most memory of this process."""
    from table_site import TableSites

    if not is_padded:
        vars(shared.stages.gradient)["places_of"] = lambda *_, **__: 0
    sites = TableSites(folder, plan_sha256, SAID)
    request = sites.train_request(round=round_number)
    with peak_memory() as peak:
        began = time.process_time()
        sites.answer(request, SITE)
        seconds = time.process_time() - began
    return {"cpu_s": seconds, "memory_mib": peak.memory_bytes / MIB}


def measure() -> dict[str, Any]:
    """The least of all tries of each kind, and when and with which code."""
    tries: dict[str, list[dict[str, float]]] = {PLAIN: [], HEAVY: [], UNPADDED: []}
    with tempfile.TemporaryDirectory() as work:
        plans = {
            kind: found(Path(work, kind), is_heavy=kind == HEAVY) for kind in (PLAIN, HEAVY, UNPADDED)
        }
        for number in range(2, TRIES + 2):
            for kind, plan in plans.items():
                tries[kind].append(_in_a_process(Path(work, kind), plan, number, kind))
    least = {
        kind: {name: min(each[name] for each in found) for name in ("cpu_s", "memory_mib")}
        for kind, found in tries.items()
    }
    return {
        "patients": PATIENTS,
        "rows_of_one": ROWS,
        "declared": DECLARED,
        "steps": STEPS,
        "tries": TRIES,
        "least": least,
        "measured": datetime.now(UTC).date().isoformat(),
        "code_sha256": installed_code_hash(),
    }


def _in_a_process(folder: Path, plan: str, number: int, kind: str) -> dict[str, float]:
    """What a forked process says of its answer; forked, as an executor forks for a task."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def work() -> None:
        theirs.send(answer(folder, plan, number, is_padded=kind != UNPADDED))

    child = context.Process(target=work)
    child.start()
    child.join()
    if child.exitcode:
        raise SystemExit(f"a round of {kind} was not answered")
    values: dict[str, float] = ours.recv()
    return values


def apart(measured: Mapping[str, Any]) -> dict[str, float]:
    """Relative differences: of the heavy patient in time and memory, of padding in time."""
    least = measured["least"]
    return {
        "cpu": least[HEAVY]["cpu_s"] / least[PLAIN]["cpu_s"] - 1,
        "memory": least[HEAVY]["memory_mib"] / least[PLAIN]["memory_mib"] - 1,
        "padding": least[PLAIN]["cpu_s"] / least[UNPADDED]["cpu_s"] - 1,
    }


def page(measured: Mapping[str, Any]) -> str:
    """docs/one-patient.md."""
    least, differ = measured["least"], apart(measured)
    n, n_rows = measured["patients"], measured["rows_of_one"]
    rows = [
        (f"{n} patients", least[PLAIN]),
        (f"{n} patients, and one with {n_rows:,} rows", least[HEAVY]),
        (f"{n} patients, no places without a patient", least[UNPADDED]),
    ]
    lines = [
        "# One patient in time and memory",
        "",
        f"Two hospitals of {n} patients, which declare {measured['declared']}; one has a patient with "
        f"{n_rows:,} rows besides. Each answers a round of "
        f"{measured['steps']} steps in a process of its own, by turns; the least of "
        f"{measured['tries']} tries counts. `make measure-patient`, {measured['measured']}.",
        "",
        "| hospital | CPU seconds of a round | most memory, MiB |",
        "|---|---|---|",
        *(f"| {name} | {each['cpu_s']:.3f} | {each['memory_mib']:.1f} |" for name, each in rows),
        "",
        f"The patient adds {differ['cpu']:+.1%} of time (at most {MOST_CPU:.0%} is allowed) and "
        f"{differ['memory']:+.1%} of memory (at most {MOST_MEMORY:.0%}). Places without a patient cost "
        f"{differ['padding']:+.1%} of time (at most {MOST_PADDING:.0%}). Which places there are: "
        "[privacy and the ledger](explanation/privacy-and-ledger.md#what-time-and-memory-tell).",
        "",
    ]
    return "\n".join(lines)


def exceeded(measured: Mapping[str, Any]) -> list[str]:
    """Which limits are not kept, in words; a difference to either side tells."""
    limits = {"cpu": MOST_CPU, "memory": MOST_MEMORY, "padding": MOST_PADDING}
    return [
        f"{name}: {value:+.1%}, at most {limits[name]:.0%}"
        for name, value in apart(measured).items()
        if (value if name == "padding" else abs(value)) > limits[name]
    ]


if __name__ == "__main__":
    for module in PRELOADED:
        importlib.import_module(module)
    figures = measure()
    DATA.write_text(json.dumps(figures, indent=1) + "\n")
    PAGE.write_text(page(figures))
    sys.stdout.write(PAGE.read_text())
    if exceeded(figures):
        raise SystemExit("beyond the limit: " + "; ".join(exceeded(figures)))
