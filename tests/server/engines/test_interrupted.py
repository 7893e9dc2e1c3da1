"""Ctrl-C at a real terminal: the run is stopped by a yes, and left running by anything else."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import practice_federation as practice
import pytest

from server.engines.interrupted import ask_to_stop

ROOT = Path(__file__).resolve().parents[3]
WAITS = """
import sys, time
from pathlib import Path
from server.engines.interrupted import ask_to_stop
from server.run.folder import open_run
store = open_run(Path(sys.argv[1]))
try:
    print("waits", flush=True)
    time.sleep(120)
except KeyboardInterrupt:
    ask_to_stop(store, sys.argv[2])
"""
CTRL_C = b"\x03"


def shown_at_terminal(run: Path, stage: str, answer: bytes) -> str:
    """What a waiting command shows at a terminal where Ctrl-C is pressed, then ``answer``."""
    own, its = pty.openpty()

    def own_terminal() -> None:
        # a program that runs in the background passes on that it hears no Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, "-c", WAITS, str(run), stage],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        preexec_fn=own_terminal,
    )
    os.close(its)
    shown, typed = b"", {b"waits": CTRL_C, b"[y/N]": answer}
    end = time.monotonic() + 300
    try:
        while time.monotonic() < end:
            shown += os.read(own, 4096)
            for words in [words for words in typed if words in shown]:
                os.write(own, typed.pop(words))
    except OSError:  # the other end is closed
        pass
    finally:
        process.kill()
        process.wait()
        os.close(own)
    return shown.decode()


@pytest.mark.parametrize(
    ("answer", "is_stopped"), [(b"y\n", True), (b"\n", False), (b"n\n", False), (CTRL_C, False)]
)
def test_at_a_terminal_it_is_asked_whether_the_run_stops_or_is_left_running(
    tmp_path: Path, answer: bytes, is_stopped: bool
) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=2)
    shown = shown_at_terminal(store.folder, "train", answer)
    assert "Stop it before its next round? Else it is left running [y/N]" in shown
    assert ("it stops before its next round" in shown) is is_stopped
    assert ("it is left running: " in shown) is not is_stopped
    assert (store.folder / "pause").exists() is is_stopped


def test_a_validation_has_no_next_round_to_stop_before(tmp_path: Path) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=2)
    shown = shown_at_terminal(store.folder, "internal", b"y\n")
    assert "Stop it" not in shown
    assert f"`osteofed-coordinator validate {store.plan.run} internal` takes what it has" in shown
    assert not (store.folder / "pause").exists()


def test_without_a_terminal_it_is_left_running_and_said_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=2)
    ask_to_stop(store, "train")
    shown = capfd.readouterr().err
    assert f"the server plays train of run {store.plan.run} on without this command" in shown
    assert f"`osteofed-coordinator pause {store.plan.run}` stops it" in shown
    assert not (store.folder / "pause").exists()
