"""Flower's executor for a hospital: runs the installed ClientApp, and no code that came by network.

Flower ships an app bundle with each run and would install and import it here. This executor ignores
the bundle: what answers is the code that the hospital installed, whose hash the site states in its
hello. It also has its imports done and forks for each task, which saves seconds per round, and it is
watched: a task that outlasts ``OSTEOFED_TASK_LIMIT_S`` is ended, and so is this program's own loop when
it stands still; the loop is then started again. ``python -m client.node.executor`` takes the
arguments of ``flower-superexec``. Replaces four private names of Flower:
``run_superexec.get_executor``, and of ``run_clientapp`` ``install_from_fab``,
``get_load_client_app_fn`` and ``pull_and_inflate_object_from_tree``; a test fails when they are gone.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

from flwr.app import Context, Error, Message
from flwr.common.constant import ErrorCode
from flwr.supercore.constant import (
    TASK_TYPE_TO_APPIO_API_ADDRESS_ARG,
    TASK_TYPE_TO_COMMAND,
    TaskType,
)
from flwr.supercore.inflatable.inflatable_utils import pull_and_inflate_object_from_tree
from flwr.supercore.superexec import run_superexec
from flwr.supercore.superexec.executor.subprocess_executor import SubprocessExecutor
from flwr.supercore.superexec.executor.types import ExecutionSpec, LaunchResult
from flwr.supernode.runtime import run_clientapp

from client.app import app
from shared.machine.processes import end_with_parent

# Everything that a round imports, so that a task starts with its work.
PRELOADED = (
    "client.answers.answer",
    "scipy.optimize",
    "shared.model.encoders",
    "shared.train.dp_optimizer",
    "torch.func",
)

BEAT = "OSTEOFED_EXECUTOR_BEAT"  # file that the loop touches; a container's health check reads its age
TASK_LIMIT = "OSTEOFED_TASK_LIMIT_S"
TASK_LIMIT_S = 24 * 3600.0  # more than any round's deadline
LOOP_LIMIT_S = 300.0  # Flower repeats a request for minutes while the SuperNode is away
WATCH_EVERY_S = 0.2
PULL_AGAIN_S = 0.05  # Flower waits 1 s for a message that is not whole at the SuperNode yet


class ForkingExecutor(SubprocessExecutor):
    """Forks this process for each client task; no other kind runs at a hospital.

    Args:
        beat: touched in every turn of Flower's loop.
        task_limit_s: a task that takes longer is ended; its SuperNode then answers with an error.
    """

    def __init__(self, *, beat: Path, task_limit_s: float) -> None:
        self._beat = beat
        self._task_limit_s = task_limit_s
        self._started: dict[int, float] = {}

    def launch(self, spec: ExecutionSpec) -> LaunchResult:
        """Start a task."""
        if spec.task_type != TaskType.CLIENT_APP:
            return LaunchResult.failed(f"a site runs {TaskType.CLIENT_APP}, not {spec.task_type}")
        loop = os.getpid()
        pid = os.fork()
        if pid == 0:
            _end_with(loop)
            _become_task(spec)
        self._started[pid] = time.monotonic()
        return LaunchResult.accepted()

    def reconcile(self) -> None:
        """Collect tasks that have ended, end those that hang, and show that the loop turns."""
        self._beat.touch()
        for pid, start in list(self._started.items()):
            if os.waitpid(pid, os.WNOHANG) != (0, 0):
                del self._started[pid]
            elif time.monotonic() - start > self._task_limit_s:
                _log(f"a task took more than {self._task_limit_s:g} s and was ended")
                os.kill(pid, signal.SIGKILL)


def main() -> None:
    """Import what rounds need, then run Flower's executor under watch."""
    for module in PRELOADED:
        importlib.import_module(module)
    with tempfile.TemporaryDirectory(prefix="osteofed-") as folder:
        beat = Path(os.environ.get(BEAT) or Path(folder, "beat"))
        sys.exit(keep_running(lambda: _run_flower(beat), beat=beat, limit_s=LOOP_LIMIT_S))


def keep_running(work: Callable[[], None], *, beat: Path, limit_s: float) -> int:
    """Run work in a child that touches ``beat``; start it again whenever it stands still.

    Returns:
        The child's exit code, once it ends by itself or by the SIGTERM that this process hands on.
    """
    watcher = os.getpid()
    while True:
        beat.touch()
        worker = os.fork()
        if worker == 0:
            _end_with(watcher)
            work()
            os._exit(0)
        _hand_on_sigterm(worker)
        code = _watch(worker, beat=beat, limit_s=limit_s)
        if code is not None:
            return code
        _log(f"the executor stood still for {limit_s:g} s and is started again")


def _hand_on_sigterm(worker: int) -> None:
    def hand_on(number: int, _frame: FrameType | None) -> None:
        os.kill(worker, number)

    signal.signal(signal.SIGTERM, hand_on)


def _watch(worker: int, *, beat: Path, limit_s: float) -> int | None:
    """The exit code of a child that ended; None after a child that stood still was ended."""
    while True:
        ended, status = os.waitpid(worker, os.WNOHANG)
        if ended:
            return abs(os.waitstatus_to_exitcode(status))
        if time.time() - beat.stat().st_mtime > limit_s:
            os.kill(worker, signal.SIGKILL)
            os.waitpid(worker, 0)
            return None
        time.sleep(WATCH_EVERY_S)


def _run_flower(beat: Path) -> None:
    """In the child: Flower's executor with this project's names in place of its own."""
    limit_s = float(os.environ.get(TASK_LIMIT) or TASK_LIMIT_S)

    def forking_executor(*_arguments: object, **_options: object) -> ForkingExecutor:
        return ForkingExecutor(beat=beat, task_limit_s=limit_s)

    run_superexec.get_executor = forking_executor  # type: ignore[attr-defined]
    run_clientapp.install_from_fab = _ignore_bundle  # type: ignore[attr-defined,assignment]
    run_clientapp.get_load_client_app_fn = _load_installed  # type: ignore[attr-defined,assignment]
    run_clientapp.pull_and_inflate_object_from_tree = partial(  # type: ignore[attr-defined]
        pull_and_inflate_object_from_tree, initial_backoff=PULL_AGAIN_S
    )
    from flwr.supercore.cli.flower_superexec import flower_superexec

    flower_superexec()


def _ignore_bundle(*_arguments: object, **_options: object) -> None:
    """Instead of unpacking the bundle that came with the run."""


def _load_installed(
    *_arguments: object, **_options: object
) -> Callable[..., Callable[[Message, Context], Message]]:
    """Instead of importing the bundle's ClientApp."""
    return lambda *_identity: _answer_wordlessly


def _answer_wordlessly(message: Message, context: Context) -> Message:
    """The installed client's answer; an exception leaves without its text, which may name a patient."""
    try:
        return app(message, context)
    except Exception as error:  # noqa: BLE001 - Flower would send its text to the coordinator
        _log(f"a message was not answered: {type(error).__name__}")
        return Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=""), reply_to=message)


def _end_with(parent: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(parent)


def _log(text: str) -> None:
    sys.stderr.write(f"osteofed executor: {text}\n")
    sys.stderr.flush()


def _become_task(spec: ExecutionSpec) -> None:
    """In the child: run the task's program in this process and end."""
    from flwr.supernode.cli.flwr_clientapp import flwr_clientapp

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    sys.argv = [
        TASK_TYPE_TO_COMMAND[spec.task_type],
        TASK_TYPE_TO_APPIO_API_ADDRESS_ARG[spec.task_type],
        spec.runtime_api_address,
        *("--token", spec.token),
        *(("--insecure",) if spec.insecure else ()),
    ]
    if spec.root_certificates_path is not None and not spec.insecure:
        sys.argv += ["--root-certificates", spec.root_certificates_path]
    if spec.parent_pid is not None:
        sys.argv += ["--parent-pid", str(spec.parent_pid)]
    code = 1
    try:
        flwr_clientapp()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(1)


if __name__ == "__main__":
    main()
