"""Writes ``docs/planted-bugs.md`` and its figures: bug × test × method of the audit, on real runs.

Run from the repository's root: ``python -m tests.practice.bug_table [--only WORD]``. With ``--only``
rows of bugs whose name holds the word are measured anew, and the others stay.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "practice"))

from audited_run import Audited, found_audited, play, recount_whole  # noqa: E402
from planted import BUGS  # noqa: E402
from table_site import TableSites  # noqa: E402

from shared.signing.code_hash import installed_code_hash  # noqa: E402

PAGE, DATA = ROOT / "docs" / "planted-bugs.md", ROOT / "docs" / "data" / "planted-bugs.json"
EPSILON, N_CANARIES, SAMPLE_RATE, LOCAL_STEPS = 8.0, 4000, 0.1, 25
CORRECT = "none: a correct run"
METHODS = ("recount", "conformance", "canary")
# What the page says of the run besides its rows.
CLAIM = {
    "epsilon": EPSILON,
    "sample_rate": SAMPLE_RATE,
    "steps": 2 * LOCAL_STEPS,
    "canaries": N_CANARIES,
}


def found_sampled(folder: Path) -> TableSites:
    """ε = 8 with Poisson sampling: every bug can be made in it."""
    return found_audited(
        folder,
        epsilon=EPSILON,
        canaries=N_CANARIES,
        sample_rate=SAMPLE_RATE,
        local_steps=LOCAL_STEPS,
    )


def failing_test(bug: str) -> str:
    """The first test of the bug's own file that fails with the bug in its path; empty: none does."""
    environment = os.environ | {"PLANTED_BUG": bug, "PYTHONPATH": str(ROOT)}
    options = ["-p", "tests.practice.plant_plugin", "-q", "-x", "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, BUGS[bug].test],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{BUGS[bug].test} could not be asked about {bug}: {done.stdout[-1000:]}")
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    return failed[0].partition("[")[0] if failed else ""


def bug_row(bug: str, found: Audited, *, test: str) -> dict[str, object]:
    """What tests and methods say of one bug: who refutes which claims, and the bounds on ε."""
    steinke, fdp = found.bounds
    return {
        "bug": bug,
        "family": BUGS[bug].family if bug in BUGS else "",
        "date": datetime.now(UTC).date().isoformat(),
        "code_sha256": installed_code_hash(),
        "test": test,
        "stopped": found.stopped,
        **{method: found.refuted(method) for method in METHODS},
        "epsilon_steinke": round(steinke, 2),
        "epsilon_fdp": round(fdp, 2),
    }


def page(measured: Mapping[str, Any]) -> str:
    """``docs/planted-bugs.md``: a line per bug."""
    rows = measured["rows"]
    unseen = [row["bug"] for row in rows[1:] if not any(row[method] for method in METHODS)]
    lines = [
        "# Planted bugs",
        "",
        f"Written by `make planted-bugs`, {_when(rows)}; nothing here is typed by hand.",
        "",
        "Each bug is planted in the path of real runs: one training site with a register, a whole run "
        "of three sites, and the installed code, which the auditor tries by force. A test of its must "
        "fail, and the audit must refute a claim. A correct run is refuted by nothing. "
        f"Register: claimed ε = {measured['epsilon']:g} at δ = 1e-5, sample rate "
        f"{measured['sample_rate']:g}, {measured['steps']} steps, {measured['canaries']} canaries; "
        "both bounds on ε hold together with 99 % confidence.",
        "",
        f"{len(rows) - 1} bugs: {sum(bool(row['test']) for row in rows)} make a test fail, "
        f"{len(rows) - 1 - len(unseen)} are refuted by the audit"
        + (f"; it does not see: {', '.join(unseen)}." if unseen else "."),
        "",
        "The divisor of a step is a public constant. A divisor that follows the data, as in Opacus 1.0 "
        "to 1.6 ([opacus#819](https://github.com/meta-pytorch/opacus/issues/819), arXiv 2605.15648), "
        "tells how many patients there are; it is planted here as *divisor from the data*.",
        "",
        "| bug | family | a test that fails | recount | conformance | ε at least (Steinke, f-DP) "
        "| audit |",
        "|---|---|---|---|---|---|---|",
        *(_line(row) for row in rows),
    ]
    return "\n".join(lines) + "\n"


def _when(rows: Sequence[Mapping[str, Any]]) -> str:
    """The day of measuring; first and last where rows were measured anew, and of how many codes."""
    days, codes = sorted({row["date"] for row in rows}), {row["code_sha256"] for row in rows}
    said = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return said if len(codes) == 1 else f"{said}, with {len(codes)} versions of the code"


def _line(row: Mapping[str, Any]) -> str:
    is_seen = any(row[method] for method in METHODS)
    file, _, name = row["test"].partition("::")
    cells = (
        row["bug"],
        row["family"] or "–",
        f"[{name}](../{file})" if file else "–",
        _claims(row["recount"]),
        _claims(row["conformance"]),
        f"{row['epsilon_steinke']:.2f}, {row['epsilon_fdp']:.2f}"
        + (" refuted" if row["canary"] else ""),
        ("found" if is_seen else "not blamed")
        + (f"; the run stops with `{row['stopped']}`" if row["stopped"] else ""),
    )
    return f"| {' | '.join(cells)} |"


def _claims(refuted: Sequence[str]) -> str:
    return " ".join(refuted) if refuted else "–"


def measure(bug: str, made: TableSites, folder: Path) -> dict[str, object]:
    """The row of one bug, or of the correct run."""
    name = bug if bug in BUGS else None
    test = failing_test(bug) if name else ""
    found = play(made, folder / "site", bug=name)
    recounted, stopped = recount_whole(folder / "run", bug=name)
    found = replace(found, recount=recounted, stopped=found.stopped or stopped)
    return bug_row(bug, found, test=test)


def main() -> None:
    """Measure the rows that are asked for and write the figures and the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.practice.bug_table", description=__doc__)
    parser.add_argument("--only", default="", help="bugs whose name holds this word")
    only = parser.parse_args().only
    held = {row["bug"]: row for row in json.loads(DATA.read_text())["rows"]} if only else {}
    with tempfile.TemporaryDirectory() as name:
        made = found_sampled(Path(name) / "made")
        for bug in (CORRECT, *BUGS):
            if only in bug:
                held[bug] = measure(bug, made, Path(name))
                sys.stdout.write(json.dumps(held[bug], ensure_ascii=False) + "\n")
                sys.stdout.flush()
    measured = CLAIM | {"rows": [held[bug] for bug in (CORRECT, *BUGS)]}
    DATA.write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page(measured))


if __name__ == "__main__":
    main()
