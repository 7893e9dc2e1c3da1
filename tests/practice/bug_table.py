"""Writes ``docs/planted-bugs.md``: bug × method × bound × verdict, measured on the real training path.

Run from the repository's root: ``python -m tests.practice.bug_table``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "practice"))

from audited_run import Audited, found_audited, play  # noqa: E402
from planted import BUGS  # noqa: E402
from table_site import TableSites  # noqa: E402

EPSILON, N_CANARIES, SAMPLE_RATE, LOCAL_STEPS = 8.0, 4000, 0.1, 50


def found_sampled(folder: Path) -> TableSites:
    """ε = 8 with Poisson sampling: every bug can be made in it."""
    return found_audited(
        folder,
        epsilon=EPSILON,
        canaries=N_CANARIES,
        sample_rate=SAMPLE_RATE,
        local_steps=LOCAL_STEPS,
    )


def bug_row(bug: str, found: Audited) -> str:
    """One line of the table."""
    figures = found.canary[-1].figures
    # The claim that is furthest off. One that is tried by force has no z.
    shown = [each for each in found.conformance if "z" in each.figures or each.verdict == "fail"]
    worst = max(
        shown, key=lambda each: (each.verdict == "fail", abs(float(each.figures.get("z") or 0)))
    )
    z = worst.figures.get("z")
    is_found = found.refuted("conformance") or found.refuted("canary")
    return (
        f"| {bug} | {figures['epsilon_steinke']:.2f} | {figures['epsilon_fdp']:.2f} | "
        f"{'refuted' if found.refuted('canary') else 'not refuted'} | "
        f"{worst.claim.rstrip('.')} | {'–' if z is None else f'{z:.1f}'} | "
        f"{'refuted' if found.refuted('conformance') else 'not refuted'} | "
        f"{'found' if is_found else 'not blamed'} |"
    )


def main() -> None:
    """Measure every row and write the page."""
    lines = [
        "# Planted bugs",
        "",
        "Written by `python -m tests.practice.bug_table`; nothing here is typed by hand.",
        "",
        f"One training site, claimed ε = {EPSILON:g} at δ = 1e-5, sample rate {SAMPLE_RATE:g}, "
        f"{2 * LOCAL_STEPS} steps, {N_CANARIES} canaries. A bound above the claim refutes it; |z| > 6 "
        "refutes a claim of the conformance battery, a patient who moves a sum by another row refutes "
        "the code. Both bounds hold together with 99 % confidence.",
        "",
        "| bug | ε at least (Steinke) | ε at least (f-DP) | canary | worst claim | its z | conformance "
        "| verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = found_sampled(folder / "made")
        for bug in (None, *BUGS):
            found = play(made, folder / "site", bug=bug)
            lines.append(bug_row(bug or "none: a correct run", found))
    (ROOT / "docs" / "planted-bugs.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
