"""The walk of one request through a hospital: files of ``client/`` that it enters, calls of the gate.

A file is entered when one of its functions is called; what Python runs on import does not count. It
decides about the request when one of these functions is handed, or hands back, the request, the
approved plan, a stage of it, the charge or the answer; the others open, read and keep files. The gate
is entered when something outside ``client/gate`` calls a public method of ``Gate`` or of ``Charged``.

``python tests/practice/walk.py`` lists both for a first request, a later round, and a validation.
"""

from __future__ import annotations

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

CLIENT = Path(__file__).resolve().parents[2] / "client"
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
        is_method = Path(code.co_filename) == GATE / "gate.py" and owner in ("Gate", "Charged")
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


def main() -> None:
    """Print the walks at a site of the federation over tables."""
    from table_site import found_table_sites

    from client.app import app
    from server.engines.local import LocalGrid
    from shared.contract.protocol import to_record

    with tempfile.TemporaryDirectory() as folder:
        sites = found_table_sites(Path(folder), *sys.argv[1:])

        def send(request: SumRequest) -> None:
            grid = LocalGrid(app, {"elm": sites.folder / "sites" / "elm"})
            list(
                grid.send_and_receive([grid.create_message(to_record(request), "train", 2, "1", 60.0)])
            )

        for title, request in (
            ("first request of a plan", sites.train_request()),
            ("training", sites.train_request(round=3)),
            ("validation", sites.measure_request()),
        ):
            sys.stdout.write(told(title, walk(lambda request=request: send(request))) + "\n")  # type: ignore[misc]


if __name__ == "__main__":
    main()
