"""The walk of one request through a hospital: the files of ``client/`` it enters, and the gate.

A file is entered when one of its functions is called; what Python runs on import does not count. The
gate is entered when something outside ``client/gate`` calls a public method of ``Gate`` or of what it
hands out. ``python tests/practice/walk.py`` lists both for a round of training and a validation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "client"
GATE = CLIENT / "gate"


@dataclass(frozen=True)
class Walk:
    """What one request touched, in the order of the first touch.

    ``files``: below ``client/``, and the functions called in each. ``gate``: calls into the gate.
    """

    files: dict[str, list[str]] = field(default_factory=dict)
    gate: list[str] = field(default_factory=list)

    def note(self, frame: FrameType) -> None:
        """Write down a call, if it is one of ``client/``."""
        code, caller = frame.f_code, frame.f_back
        path = Path(code.co_filename)
        if not path.is_relative_to(CLIENT) or _is_import(frame):
            return
        called = self.files.setdefault(path.relative_to(CLIENT).as_posix(), [])
        if code.co_qualname not in called:
            called.append(code.co_qualname)
        owner, _, name = code.co_qualname.rpartition(".")
        is_method = path == GATE / "gate.py" and owner != "" and not name.startswith("_")
        if is_method and "<locals>" not in owner and not _comes_from_the_gate(caller):
            self.gate.append(code.co_qualname)


def walk(action: Callable[[], object]) -> Walk:
    """What ``action`` touches in this thread."""
    walked = Walk()

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            walked.note(frame)

    kept = sys.getprofile()
    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(kept)
    return walked


def _is_import(frame: FrameType) -> bool:
    """Whether Python runs a module, or the body of a class in one."""
    step: FrameType | None = frame
    while step is not None and step.f_code.co_filename == frame.f_code.co_filename:
        if step.f_code.co_name == "<module>":
            return True
        step = step.f_back
    return False


def _comes_from_the_gate(caller: FrameType | None) -> bool:
    return caller is not None and Path(caller.f_code.co_filename).is_relative_to(GATE)


def show(title: str, walked: Walk) -> str:
    """A walk as text."""
    lines = [f"{title}: {len(walked.files)} files, {len(walked.gate)} times into the gate"]
    lines += [
        f"  {number:2d} {name}: {', '.join(called)}"
        for number, (name, called) in enumerate(walked.files.items(), 1)
    ]
    return "\n".join([*lines, f"  gate: {', '.join(walked.gate)}"])
