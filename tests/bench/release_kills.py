"""What a killed process leaves of an answer: one charge, one release, the same bytes again.

``make one-release``. A hospital's process is killed at every instant between charge and sending at
which what lasts has changed, in training, a validation and a description; then the answer is asked for
twice. Four processes are asked at once besides. Writes docs/data/one-release.json and
docs/one-release.md, and ends with an error where a charge paid for another number of releases than one.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "practice")]

from dying_site import at_once  # noqa: E402
from one_release import (  # noqa: E402
    STAGES,
    STEPS,
    WRITES,
    Left,
    asked,
    copied,
    kinds,
    left_after,
)
from table_site import TableSites, found_table_sites  # noqa: E402

from shared.contract.payload import pack  # noqa: E402

DATA, PAGE = ROOT / "docs" / "data" / "one-release.json", ROOT / "docs" / "one-release.md"
PROCESSES = 4
IN_WORDS = {"train": "training", "internal": "validation", "description": "description"}
TEXT = """# One charge, one release

A hospital's process is killed at every instant between charge and sending at which what lasts has
changed; then the coordinator asks for the same answer twice. The table says what became of the charge.
`make one-release`, {date}.

Of {kills} kills, {right} left one charge, one release, the same bytes both times, an outcome that names
charge and answer, and a ledger that the auditor's recount passes.

| what was being written | killed | {stages} |
|---|---|---|---|---|
{rows}

{processes} processes are asked for one answer at once:

| stage | charges | answers | different ones |
|---|---|---|---|
{together}

Backups from before an answer, cloned folders and a coordinator that asks for something else after a
crash are tried by `tests/client/gate/test_one_release.py`.
"""
EPSILONS = ("privacy.epsilon=2", "validation.epsilon=2", "validation.description_epsilon=1")


def measure() -> dict[str, Any]:
    """Every kill of every stage, and several processes at once."""
    with tempfile.TemporaryDirectory() as work:
        made = found_table_sites(Path(work, "made"), *EPSILONS)
        kills = [
            {
                "stage": stage,
                "step": step,
                **asdict(left_after(made, Path(work, stage, str(step)), stage, step)),
            }
            for stage in STAGES
            for step in range(len(STEPS))
        ]
        together = {
            stage: _asked_at_once(made, Path(work, "together", stage), stage) for stage in STAGES
        }
    date = datetime.now(UTC).date().isoformat()
    return {"date": date, "steps": list(STEPS), "kills": kills, "at_once": together}


def _asked_at_once(made: TableSites, folder: Path, stage: str) -> dict[str, int]:
    """Charges, and different answers, of several processes that answer one request together."""
    sites = copied(made, folder)
    request, sent = asked(sites, stage), folder / "sent"
    sent.mkdir()

    def answer() -> None:
        data = pack(sites.answer(request).message)
        with tempfile.NamedTemporaryFile(dir=sent, delete=False) as file:
            file.write(data)

    at_once(PROCESSES, answer)
    answers = [file.read_bytes() for file in sent.iterdir()]
    return {"charges": kinds(sites).count("charge"), "answers": len(answers), "kinds": len({*answers})}


def _kills_of(measured: dict[str, Any]) -> dict[tuple[str, int], Left]:
    """By stage and step."""
    return {
        (each["stage"], each["step"]): Left(**{key: each[key] for key in Left.__dataclass_fields__})
        for each in measured["kills"]
    }


def what_happened(left: Left) -> str:
    """What came of the charge, when the answer was asked for again."""
    if not left.was_charged:
        return "charged then"
    return "drawn again under its charge" if left.attempts else "sent as it was stored"


def page(measured: dict[str, Any]) -> str:
    """docs/one-release.md."""
    kills = _kills_of(measured)
    rows = [
        f"| {what} | {step} | {' | '.join(what_happened(kills[stage, at]) for stage in STAGES)} |"
        for at, (what, step) in enumerate(zip(WRITES, measured["steps"], strict=True))
    ]
    together = [
        f"| {IN_WORDS[stage]} | {each['charges']} | {each['answers']} | {each['kinds']} |"
        for stage, each in measured["at_once"].items()
    ]
    return TEXT.format(
        date=measured["date"],
        kills=len(kills),
        right=sum(each.is_right for each in kills.values()),
        stages=" | ".join(IN_WORDS.values()),
        rows="\n".join(rows),
        processes=PROCESSES,
        together="\n".join(together),
    )


def wrong(measured: dict[str, Any]) -> Sequence[str]:
    """Where a charge paid for another number of releases than one."""
    kills = [
        f"{stage}, killed {measured['steps'][step]}"
        for (stage, step), left in _kills_of(measured).items()
        if not left.is_right
    ]
    return kills + [
        f"{stage}, {PROCESSES} at once"
        for stage, each in measured["at_once"].items()
        if each != {"charges": 1, "answers": PROCESSES, "kinds": 1}
    ]


if __name__ == "__main__":
    found = measure()
    DATA.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(page(found))
    if wrong(found):
        sys.exit("\n".join(wrong(found)))
