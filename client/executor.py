"""Flower's executor for a hospital: runs the installed ClientApp, and no code that came by network.

Flower ships an app bundle with each run and would install and import it here. This executor ignores
the bundle: what answers is the code that the hospital installed, whose hash the site states in its
hello. It also has its imports done and forks for each task, which saves seconds per round.
``python -m client.executor`` takes the arguments of ``flower-superexec``. Replaces three private
names of Flower: ``run_superexec.get_executor``, ``run_clientapp.install_from_fab`` and
``run_clientapp.get_load_client_app_fn``; a test fails when they are gone.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from flwr.clientapp import ClientApp
from flwr.supercore.constant import (
    TASK_TYPE_TO_APPIO_API_ADDRESS_ARG,
    TASK_TYPE_TO_COMMAND,
    TaskType,
)
from flwr.supercore.superexec import run_superexec
from flwr.supercore.superexec.executor.subprocess_executor import SubprocessExecutor
from flwr.supercore.superexec.executor.types import ExecutionSpec, LaunchResult
from flwr.supernode.runtime import run_clientapp

from client.app import app

# Everything that a round imports, so that a task starts with its work.
PRELOADED = (
    "client.train",
    "client.validate",
    "scipy.optimize",
    "shared.model.encoders",
    "shared.train.dp_optimizer",
    "torch.func",
)


class ForkingExecutor(SubprocessExecutor):
    """Forks this process for each client task; no other kind runs at a hospital."""

    def launch(self, spec: ExecutionSpec) -> LaunchResult:
        """Start a task."""
        if spec.task_type != TaskType.CLIENT_APP:
            return LaunchResult.failed(f"a site runs {TaskType.CLIENT_APP}, not {spec.task_type}")
        if os.fork() == 0:
            _become_task(spec)
        return LaunchResult.accepted()

    def reconcile(self) -> None:
        """Collect tasks that have ended."""
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass


def main() -> None:
    """Import what rounds need, then run Flower's executor."""
    for module in PRELOADED:
        importlib.import_module(module)
    run_superexec.get_executor = _forking_executor  # type: ignore[attr-defined]
    run_clientapp.install_from_fab = _ignore_bundle  # type: ignore[attr-defined,assignment]
    run_clientapp.get_load_client_app_fn = _load_installed  # type: ignore[attr-defined]
    from flwr.supercore.cli.flower_superexec import flower_superexec

    flower_superexec()


def _forking_executor(*_arguments: object, **_options: object) -> ForkingExecutor:
    return ForkingExecutor()


def _ignore_bundle(*_arguments: object, **_options: object) -> None:
    """Instead of unpacking the bundle that came with the run."""


def _load_installed(*_arguments: object, **_options: object) -> Callable[..., ClientApp]:
    """Instead of importing the bundle's ClientApp."""
    return lambda *_identity: app


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
