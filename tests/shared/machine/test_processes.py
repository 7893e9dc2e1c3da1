"""Processes that must never be left behind, even by their children or after a failure."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.errors import EngineError
from shared.machine.files import PROJECT
from shared.machine.processes import (
    Processes,
    flower_environment,
    free_port,
    require_free_port,
    run_command,
    wait_for_port,
)

SLEEPER = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
PARENT = (
    "import subprocess, sys, pathlib, time\n"
    f"child = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}])\n"
    "pathlib.Path('child').write_text(str(child.pid))\n"
    "time.sleep(60)\n"
)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until(condition: object, *, timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_children_of_a_process_end_with_it_even_after_an_error(tmp_path: Path) -> None:
    note = tmp_path / "child"
    with (  # noqa: PT012 - the error must be raised while the process runs
        pytest.raises(ValueError),
        Processes(tmp_path / "logs", environment=os.environ) as running,
    ):
        running.start("parent", python(PARENT), cwd=tmp_path)
        wait_until(lambda: note.exists() and note.read_text())
        child = int(note.read_text())
        assert is_alive(child)
        raise ValueError
    wait_until(lambda: not is_alive(child))


def test_a_process_that_ignores_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.machine.processes.GRACE_S", 0.2)
    with Processes(tmp_path / "logs", environment=os.environ) as running:
        running.start("stubborn", python(STUBBORN), cwd=tmp_path)
        time.sleep(0.5)
    # leaving the block without hanging for 60 s is the point
    running.require_alive()


def test_one_process_is_started_again_as_it_was_and_the_others_run_on(tmp_path: Path) -> None:
    def pids(name: str) -> list[int]:
        note = tmp_path / name
        return [int(line) for line in note.read_text().split()] if note.exists() else []

    noting = "import os, sys, time; open(sys.argv[1], 'a').write(f'{os.getpid()} '); time.sleep(60)"
    with Processes(tmp_path / "logs", environment=os.environ) as running:
        for name in ("one", "two"):
            running.start(name, [*python(noting), name], cwd=tmp_path)
            wait_until(lambda name=name: pids(name))
        running.restart("one")
        wait_until(lambda: len(pids("one")) == 2)
        running.require_alive()
        former, present = pids("one")
        assert not is_alive(former)
        assert is_alive(present)
        assert is_alive(*pids("two"))
        assert len(pids("two")) == 1


def test_a_process_that_ends_by_itself_is_named_with_its_log(tmp_path: Path) -> None:
    with Processes(tmp_path / "logs", environment=os.environ) as running:
        running.start("short", python("print('bye'); raise SystemExit(3)"), cwd=tmp_path)
        with pytest.raises(EngineError) as caught:
            wait_for_port(free_port(), running, timeout_s=20.0)
        running.start("long", python("import time; time.sleep(60)"), cwd=tmp_path)
        assert running.has_ended("short")
        assert not running.has_ended("long")
    assert caught.value.code == "engine.process-ended"
    assert "short ended by itself with 3" in caught.value.fact
    assert (tmp_path / "logs" / "short.log").read_text() == "bye\n"


def test_a_port_that_nobody_opens_is_an_error(tmp_path: Path) -> None:
    with Processes(tmp_path / "logs", environment=os.environ) as running:
        running.start("sleeper", python(SLEEPER), cwd=tmp_path)
        with pytest.raises(EngineError) as caught:
            wait_for_port(free_port(), running, timeout_s=0.3)
    assert caught.value.code == "engine.not-listening"


def test_a_failing_command_is_an_error_and_is_logged(tmp_path: Path) -> None:
    log = tmp_path / "commands.log"
    with pytest.raises(EngineError) as caught:
        run_command(
            python("raise SystemExit('why')"),
            cwd=tmp_path,
            environment=os.environ,
            log=log,
            timeout_s=20.0,
        )
    assert caught.value.code == "engine.command-failed"
    assert "why" in log.read_text()


def test_a_command_that_takes_too_long_is_an_error_with_advice_and_is_logged(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "commands.log"
    with pytest.raises(EngineError, match=r"-c took more than 0\.5 s") as caught:
        run_command(python(SLEEPER), cwd=tmp_path, environment=os.environ, log=log, timeout_s=0.5)
    assert caught.value.code == "engine.command-timeout"
    assert "done all the same" in caught.value.hint
    assert "ended after 0.5 s" in log.read_text()


def test_flower_s_environment_is_offline_and_leaves_the_caller_s_python_path_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    environment = flower_environment(tmp_path)
    assert "PYTHONPATH" not in environment
    assert environment["FLWR_HOME"] == str(tmp_path)
    assert environment["FLWR_TELEMETRY_ENABLED"] == "0"
    assert environment["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"


STARTING = """
import os, sys, time
from pathlib import Path
from shared.machine.processes import Processes
with Processes(Path("logs"), environment=os.environ) as running:
    running.start("child", [sys.executable, "-c", sys.argv[1]], cwd=Path())
    time.sleep(60)
"""


def test_processes_end_with_the_one_that_started_them_when_it_is_killed(tmp_path: Path) -> None:
    noting = f"import os; open('child', 'w').write(str(os.getpid())); {SLEEPER}"
    command = [*python(STARTING), noting]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    note = tmp_path / "child"
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as parent:
        wait_until(lambda: note.exists() and note.read_text())
        assert is_alive(int(note.read_text()))
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not is_alive(int(note.read_text())))


def test_an_orphan_ends_though_it_waits_in_the_handler_of_its_interrupt(tmp_path: Path) -> None:
    waiting = (
        "import os, signal, time\n"
        "from shared.machine.processes import end_with_parent\n"
        "signal.signal(signal.SIGINT, lambda *_: time.sleep(60))\n"
        "end_with_parent(os.getppid())\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {waiting!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        python(parent),
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
    ) as running:
        assert running.stdout is not None
        child = int(running.stdout.readline())
        os.kill(child, signal.SIGINT)
        time.sleep(0.2)
        assert is_alive(child)
        running.kill()
    wait_until(lambda: not is_alive(child))


def test_a_port_on_which_somebody_listens_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.machine.processes.GRACE_S", 0.2)
    require_free_port("203.0.113.9", 9092)  # no address of this machine: not said here
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        for host in ("127.0.0.1", "0.0.0.0"):
            with pytest.raises(EngineError, match=f"listens on port {port}") as caught:
                require_free_port(host, port)
            assert caught.value.code == "engine.port-taken"
    require_free_port("127.0.0.1", port)
