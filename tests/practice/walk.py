"""The walk of one request through a hospital: files of ``client/`` that it enters, calls of the gate.

A file is entered when one of its functions is called; what Python runs on import does not count. It
decides about the request when one of these functions is handed, or hands back, the request, the
approved plan, a stage of it, the charge or the answer; the others open, read and keep files. The gate
is entered when something outside ``client/gate`` calls a public method of ``Gate``.

``python tests/practice/walk.py`` lists both for a first request, a later round, and a validation;
``--page`` writes ``docs/explanation/walk-of-a-request.md``, which a test holds to the walk.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType

from flwr.app import Message

from client.gate.ledger import Charge
from client.site.approved import Approved
from shared.contract.plan import Plan
from shared.contract.protocol import SumReply, SumRequest
from shared.contract.stages import StageSettings

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "client"
PAGE = ROOT / "docs" / "explanation" / "walk-of-a-request.md"
# As they were counted by hand in the tree before the rooms, of which this is the last commit.
BEFORE = {"commit": "cef3c75", "files": 19, "gate": 12}
WHY_ENTERED = {
    "Gate.answer": "under the lock of the round it sends a stored reply again, or asks for the "
    "patients, charges, has the total made, stores, writes down and sends it. What finds patients and "
    "makes totals is handed in and called by the gate, so that their order is the gate's",
}
GATE = CLIENT / "gate"
# What a decision is about.
SUBJECTS = (Message, SumRequest, SumReply, Plan, StageSettings, Approved, Charge)


@dataclass(frozen=True)
class Walk:
    """What one request touched, in the order of the first touch.

    ``files``: below ``client/``, and the functions called in each. ``deciding``: those of them that saw
    what the request is about. ``gate``: calls into the gate.
    """

    files: dict[str, list[str]] = field(default_factory=dict)
    deciding: dict[str, list[str]] = field(default_factory=dict)
    gate: list[str] = field(default_factory=list)

    def note_call(self, frame: FrameType) -> None:
        """Write down a call, if it is one of ``client/``."""
        code = frame.f_code
        if not _is_ours(frame):
            return
        _add(self.files, code)
        if any(isinstance(value, SUBJECTS) for value in _arguments(frame)):
            _add(self.deciding, code)
        owner, _, name = code.co_qualname.rpartition(".")
        is_method = Path(code.co_filename) == GATE / "gate.py" and owner == "Gate"
        if is_method and not name.startswith("_") and not _is_in_gate(frame.f_back):
            self.gate.append(code.co_qualname)

    def note_return(self, frame: FrameType, value: object) -> None:
        """Write down that a call handed back what the request is about."""
        if isinstance(value, SUBJECTS) and _is_ours(frame):
            _add(self.deciding, frame.f_code)


def walk(action: Callable[[], object]) -> Walk:
    """What ``action`` touches in this thread."""
    walked = Walk()

    def profile(frame: FrameType, event: str, value: object) -> None:
        if event == "call":
            walked.note_call(frame)
        elif event == "return":
            walked.note_return(frame, value)

    kept = sys.getprofile()
    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(kept)
    return walked


def _is_ours(frame: FrameType) -> bool:
    return Path(frame.f_code.co_filename).is_relative_to(CLIENT) and not _is_import(frame)


def _is_import(frame: FrameType) -> bool:
    """Whether Python runs a module, or the body of a class in one."""
    step: FrameType | None = frame
    while step is not None and step.f_code.co_filename == frame.f_code.co_filename:
        if step.f_code.co_name == "<module>":
            return True
        step = step.f_back
    return False


def _is_in_gate(caller: FrameType | None) -> bool:
    return caller is not None and Path(caller.f_code.co_filename).is_relative_to(GATE)


def _arguments(frame: FrameType) -> Iterator[object]:
    code = frame.f_code
    for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        yield frame.f_locals.get(name)


def _add(files: dict[str, list[str]], code: CodeType) -> None:
    called = files.setdefault(Path(code.co_filename).relative_to(CLIENT).as_posix(), [])
    if code.co_qualname not in called:
        called.append(code.co_qualname)


def told(title: str, walked: Walk) -> str:
    """A walk as text; a star before a file that decides."""
    counts = f"{len(walked.files)} files, {len(walked.deciding)} decide; gate: {', '.join(walked.gate)}"
    lines = []
    for name, called in walked.files.items():
        star, shown = ("*", walked.deciding[name]) if name in walked.deciding else (" ", called)
        lines.append(f"  {star} {name}: {', '.join(shown)}")
    return "\n".join([f"{title}: {counts}", *lines])


def page(walks: dict[str, Walk]) -> str:
    """The page: files that decide and files that keep, and the calls of the gate, of each walk."""
    lines = [
        "# The walk of one request through a hospital",
        "",
        "Written by `python tests/practice/walk.py --page` and held to the code by "
        "`tests/client/answers/test_walk.py`. A file *decides* when one of its functions is handed, or "
        "hands back, the request, the plan, a stage, the charge or the answer; the others open, read "
        "and keep files. Signing, contract and the machine's files are in `shared/` and not counted.",
        "",
        f"Before the rooms, on commit `{BEFORE['commit']}`, {BEFORE['files']} files that decide and "
        f"{BEFORE['gate']} calls of the gate were counted by hand. The tracer counts now (*training* "
        "is a later round; the *first request of a plan* also settles policy and model):",
        "",
        "| request | files that decide | files that keep | calls of the gate |",
        "|---|---|---|---|",
    ]
    for title, walked in walks.items():
        counts = (len(walked.deciding), len(walked.files) - len(walked.deciding), len(walked.gate))
        lines.append(f"| {title} | {' | '.join(map(str, counts))} |")
    entered = dict.fromkeys(call for walked in walks.values() for call in walked.gate)
    lines += ["", "What the one call of the gate does:", ""]
    lines += [f"- `{call}`: {WHY_ENTERED[call]}." for call in entered]
    for title, walked in walks.items():
        lines += ["", f"## {title.capitalize()}", "", "| file | decides in |", "|---|---|"]
        for name in sorted(walked.files):
            told_in = walked.deciding.get(name, [])
            lines.append(f"| `client/{name}` | {', '.join(f'`{each}`' for each in told_in) or '–'} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Print the walks at a site of the federation over tables."""
    from table_site import found_table_sites

    from client.app import app
    from server.engines.local import LocalGrid
    from shared.contract.protocol import to_record

    with tempfile.TemporaryDirectory() as folder:
        words = [word for word in sys.argv[1:] if word != "--page"]
        sites = found_table_sites(Path(folder), *words)

        def send(request: SumRequest) -> None:
            grid = LocalGrid(app, {"elm": sites.folder / "sites" / "elm"})
            list(
                grid.send_and_receive([grid.create_message(to_record(request), "train", 2, "1", 60.0)])
            )

        walks = {}
        asked = {
            "first request of a plan": sites.train_request(),
            "training": sites.train_request(round=3),
            "validation": sites.measure_request(),
        }
        # What is settled once a plan, the first request settles.
        shutil.rmtree(sites.folder / "sites" / "elm" / "approvals" / "settled")
        for title, request in asked.items():
            walks[title] = walk(lambda request=request: send(request))  # type: ignore[misc]
            sys.stdout.write(told(title, walks[title]) + "\n")
        if len(words) < len(sys.argv) - 1:
            PAGE.write_text(page(walks))


if __name__ == "__main__":
    main()
