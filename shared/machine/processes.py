"""Flower's processes: started in groups of their own, always ended by their ids.

Flower's executors start children; each process leads its own group, and the whole group is ended. Where
this process is killed, the kernel ends what it started. Imports errors only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType

from shared.errors import EngineError

GRACE_S = 5.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_prctl = getattr(ctypes.CDLL(None), "prctl", None)  # looked for before a fork, not after


class Processes:
    """Background processes with a log file each; ended on leaving the ``with`` block.

    They end with the thread that started them too, however it ended.

    Args:
        logs: folder of the log files.
        environment: of every process.
    """

    def __init__(self, logs: Path, *, environment: Mapping[str, str]) -> None:
        self._logs = logs
        self._environment = dict(environment)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, tuple[list[str], Path]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def start(self, name: str, command: Sequence[str], *, cwd: Path) -> None:
        """Start a process; its output goes to ``NAME.log``."""
        self._commands[name] = (list(command), cwd)
        parent = os.getpid()
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                list(command),
                cwd=cwd,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: end_with_parent(parent),  # no lock is taken in it
            )

    def restart(self, name: str) -> None:
        """End one process as ``end`` does and start it again; the others are not touched."""
        _end([self._running[name]])
        command, cwd = self._commands[name]
        self.start(name, command, cwd=cwd)

    def has_ended(self, name: str) -> bool:
        """Whether a process has ended by itself."""
        return self._running[name].poll() is not None

    def require_alive(self, only: str = "") -> None:
        """Stop when a process has ended by itself.

        Args:
            only: the process that is meant; empty: any.

        Raises:
            EngineError: naming the process and its log.
        """
        for name, process in self._running.items():
            if only in ("", name) and process.poll() is not None:
                raise EngineError(
                    "process-ended",
                    f"{name} ended by itself with {process.returncode}",
                    hint=f"see {name}.log in {self._logs}",
                )

    def wait(self) -> None:
        """Wait until somebody stops this process.

        Raises:
            EngineError: one of the processes ended by itself.
        """
        while True:
            self.require_alive()
            time.sleep(1.0)

    def end(self) -> None:
        """End every process with all its children: politely, then not."""
        _end(list(self._running.values()))
        self._running.clear()


def run_command(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], log: Path, timeout_s: float
) -> str:
    """Run a short command, add it to a log file, and return its standard output.

    Raises:
        EngineError: it fails or takes too long.
    """
    try:
        done = subprocess.run(
            list(command),
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        _add_to(log, command, f"ended after {timeout_s:g} s")
        raise EngineError(
            "command-timeout",
            f"{Path(command[0]).name} {command[1]} took more than {timeout_s:g} s",
            hint="this machine may be too busy, or the server stands still; what was asked may be done "
            "all the same: look before you ask again",
        ) from None
    _add_to(log, command, f"{done.stdout}{done.stderr}")
    if done.returncode != 0:
        raise EngineError(
            "command-failed",
            f"{Path(command[0]).name} {command[1]} ended with {done.returncode}",
            hint=f"see {log}",
        )
    return done.stdout


def _add_to(log: Path, command: Sequence[str], told: str) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as stream:
        stream.write(f"$ {' '.join(command)}\n{told}\n")


def end_with_parent(parent: int) -> None:
    """In a child: let the kernel end this process when its parent is gone, however that ended.

    Args:
        parent: its process, which may have ended before this was asked for.
    """
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)


def end_on_sigterm() -> None:
    """Treat SIGTERM as Ctrl-C, so that ``with`` blocks end what they started."""
    signal.signal(signal.SIGTERM, _interrupt)


def flower_program(name: str) -> str:
    """A Flower program beside this Python, not another one on the path."""
    return str(Path(sys.executable).parent / name)


def flower_environment(flower_home: Path) -> dict[str, str]:
    """Environment of Flower's processes: offline, quiet, with Flower's own files in ``flower_home``.

    PYTHONPATH is left out, so that a task sees the code of its bundle and nothing beside it.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return kept | {
        "FLWR_HOME": str(flower_home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.05",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def require_free_port(host: str, port: int) -> None:
    """Refuse an address on which somebody listens; one who was just killed may take a moment to go.

    Raises:
        EngineError: somebody does.
    """
    end = time.monotonic() + GRACE_S
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        try:
            socket.create_server((host, port), family=family).close()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return  # no address of this machine: who is to listen there will say so
            if time.monotonic() > end:
                raise EngineError(
                    "port-taken",
                    f"another process listens on port {port} of {host}",
                    hint="`ss -ltnp` names it; end it, or choose another --port",
                ) from None
            time.sleep(0.1)
        else:
            return


def wait_for_port(port: int, processes: Processes, *, timeout_s: float, only: str = "") -> None:
    """Wait until something listens on a loopback port.

    Args:
        port: to be listened on.
        processes: of which one is to listen.
        timeout_s: waited at most.
        only: the process whose end is waited for no longer; empty: any.

    Raises:
        EngineError: nothing did in time, or a process ended meanwhile.
    """
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        processes.require_alive(only)
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        except OSError:
            time.sleep(0.1)
    raise EngineError("not-listening", f"nothing listens on port {port} after {timeout_s:g} s")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        _signal_group(process, signal.SIGTERM)
    end = time.monotonic() + GRACE_S
    for process in processes:
        with suppress(subprocess.TimeoutExpired):  # the next signal cannot be refused
            process.wait(max(0.0, end - time.monotonic()))
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # the group is gone already
        os.killpg(process.pid, number)
