"""Writes ``docs/planted-bugs.md`` and its figures: bug × method × bound × verdict, on real training.

Run from the repository's root: ``python -m tests.practice.bug_table``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "practice"))

from audited_run import Audited, found_audited, play  # noqa: E402
from planted import BUGS  # noqa: E402
from table_site import TableSites  # noqa: E402

PAGE, DATA = ROOT / "docs" / "planted-bugs.md", ROOT / "docs" / "data" / "planted-bugs.json"
EPSILON, N_CANARIES, SAMPLE_RATE, LOCAL_STEPS = 8.0, 4000, 0.1, 50
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


def bug_row(bug: str, found: Audited) -> dict[str, object]:
    """What the methods say of one bug: bounds, the claim that is furthest off, and who refutes."""
    figures = found.canary[-1].figures
    # One that is tried by force has no z.
    shown = [each for each in found.conformance if "z" in each.figures or each.verdict == "fail"]
    worst = max(
        shown, key=lambda each: (each.verdict == "fail", abs(float(each.figures.get("z") or 0)))
    )
    z = worst.figures.get("z")
    return {
        "bug": bug,
        "epsilon_steinke": round(float(figures["epsilon_steinke"]), 2),
        "epsilon_fdp": round(float(figures["epsilon_fdp"]), 2),
        "canary_refutes": found.refuted("canary"),
        "claim": worst.claim.rstrip("."),
        "z": None if z is None else round(float(z), 1),
        "conformance_refutes": found.refuted("conformance"),
    }


def page(measured: Mapping[str, Any]) -> str:
    """``docs/planted-bugs.md``: a line per bug."""
    lines = [
        "# Planted bugs",
        "",
        "Written by `python -m tests.practice.bug_table`; nothing here is typed by hand.",
        "",
        f"One training site, claimed ε = {measured['epsilon']:g} at δ = 1e-5, sample rate "
        f"{measured['sample_rate']:g}, {measured['steps']} steps, {measured['canaries']} canaries. A "
        "bound above the claim refutes it; |z| > 6 refutes a claim of the conformance battery, a "
        "patient who moves a sum by another row refutes the code. Both bounds hold together with 99 % "
        "confidence.",
        "",
        "| bug | ε at least (Steinke) | ε at least (f-DP) | canary | worst claim | its z | conformance "
        "| verdict |",
        "|---|---|---|---|---|---|---|---|",
        *(_line(row) for row in measured["rows"]),
    ]
    return "\n".join(lines) + "\n"


def _line(row: Mapping[str, Any]) -> str:
    by_canary, by_battery = row["canary_refutes"], row["conformance_refutes"]
    cells = (
        row["bug"],
        f"{row['epsilon_steinke']:.2f}",
        f"{row['epsilon_fdp']:.2f}",
        "refuted" if by_canary else "not refuted",
        row["claim"],
        "–" if row["z"] is None else f"{row['z']:.1f}",
        "refuted" if by_battery else "not refuted",
        "found" if by_canary or by_battery else "not blamed",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure every row and write the figures and the page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = found_sampled(folder / "made")
        rows = [
            bug_row(bug or "none: a correct run", play(made, folder / "site", bug=bug))
            for bug in (None, *BUGS)
        ]
    measured = CLAIM | {"rows": rows}
    DATA.write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page(measured))


if __name__ == "__main__":
    main()
