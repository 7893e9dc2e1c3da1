"""The hospital's executor: what it replaces in Flower, what it runs, and what it does not wait for."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.app.message import make_message
from flwr.app.metadata import Metadata
from flwr.supercore.constant import TaskType
from flwr.supercore.superexec import run_superexec
from flwr.supercore.superexec.executor.types import ExecutionSpec, LaunchResultStatus
from flwr.supernode.runtime import run_clientapp

from client.node import executor

ROOT = Path(__file__).resolve().parents[3]
SECRET = "Erika Mustermann /archive/4711.dcm"


def task(kind: TaskType = TaskType.CLIENT_APP) -> ExecutionSpec:
    return ExecutionSpec(
        task_type=kind,
        runtime_api_address="127.0.0.1:1",
        token="t",
        insecure=True,
        root_certificates_path=None,
        runtime_dependency_install=False,
        parent_pid=os.getpid(),
        suppress_output=True,
        task_id=1,
    )


def forking(folder: Path, *, task_limit_s: float = 60.0) -> executor.ForkingExecutor:
    return executor.ForkingExecutor(beat=folder / "beat", task_limit_s=task_limit_s)


def wait_until(is_so: Callable[[], bool], *, at_most_s: float = 20.0) -> float:
    """Seconds until something is so."""
    start = time.monotonic()
    while not is_so():
        assert time.monotonic() - start < at_most_s
        time.sleep(0.02)
    return time.monotonic() - start


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def message_and_context() -> tuple[Message, Context]:
    metadata = Metadata(
        run_id=1,
        message_id="m",
        src_node_id=1,
        dst_node_id=2,
        reply_to_message_id="",
        group_id="",
        created_at=time.time(),
        ttl=60.0,
        message_type="train",
    )
    context = Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config={})
    return make_message(metadata, RecordDict()), context


def test_flower_still_calls_the_names_that_the_executor_replaces() -> None:
    assert "get_executor" in run_superexec.run_superexec.__code__.co_names
    called = run_clientapp.run_clientapp.__code__.co_names
    assert {"install_from_fab", "get_load_client_app_fn"} <= set(called)
    pulled = run_clientapp.pull_task_input.__code__
    assert "pull_and_inflate_object_from_tree" in pulled.co_names


def test_everything_that_is_imported_beforehand_exists_and_answers_need_no_more() -> None:
    program = (
        "import importlib, sys\n"
        "from client.node.executor import PRELOADED\n"
        "for module in PRELOADED: importlib.import_module(module)\n"
        "import client.app\n"
        "before = set(sys.modules)\n"
        "from client.answers.answer import answer_sum\n"
        "sys.exit(len(set(sys.modules) - before))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", program], env=environment, timeout=120).returncode == 0


def test_what_is_loaded_is_the_installed_client_whatever_bundle_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load = executor._load_installed(default_app_ref="", app_path=None, multi_app=True)
    answer = load("someone/else", "6.6.6", "f" * 64)
    seen = []
    monkeypatch.setattr(executor, "app", lambda message, context: seen.append(message) or message)
    message, context = message_and_context()
    assert answer(message=message, context=context) is message
    assert seen == [message]


def test_an_exception_that_a_client_lets_through_leaves_without_its_text(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(message: Message, context: Context) -> Message:
        raise KeyError(SECRET)

    monkeypatch.setattr(executor, "app", fail)
    answer = executor._load_installed()("someone/else", "6.6.6", "f" * 64)
    message, context = message_and_context()
    reply = answer(message=message, context=context)
    assert reply.has_error()
    assert reply.error.reason == ""
    logged = capfd.readouterr()
    assert "KeyError" in logged.err
    assert "Mustermann" not in logged.err + logged.out


@pytest.mark.parametrize(("said", "limit_s"), [("90", 90.0), ("", executor.TASK_LIMIT_S)])
def test_a_task_may_take_as_long_as_the_hospital_says(
    said: str, limit_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in (
        (run_superexec, "get_executor"),
        (run_clientapp, "install_from_fab"),
        (run_clientapp, "get_load_client_app_fn"),
        (run_clientapp, "pull_and_inflate_object_from_tree"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))  # put back after the test
    command = importlib.import_module("flwr.supercore.cli.flower_superexec")
    monkeypatch.setattr(command, "flower_superexec", lambda: None)
    monkeypatch.setenv(executor.TASK_LIMIT, said)
    executor._run_flower(tmp_path / "beat")
    assert run_superexec.get_executor()._task_limit_s == limit_s


def test_a_site_refuses_to_run_a_server_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "_become_task", lambda _: os._exit(0))
    before = children()
    result = forking(tmp_path).launch(task(TaskType.SERVER_APP))
    assert result.status == LaunchResultStatus.FAILED
    assert children() == before


def test_a_task_that_hangs_is_ended_and_one_that_works_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def ignore_signals_and_hang(_: ExecutionSpec) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(30)

    monkeypatch.setattr(executor, "_become_task", ignore_signals_and_hang)
    ours = forking(tmp_path, task_limit_s=0.5)
    before = children()
    assert ours.launch(task()).status == LaunchResultStatus.ACCEPTED
    [pid] = children() - before

    def is_over() -> bool:
        ours.reconcile()
        return not is_running(pid)

    assert 0.4 < wait_until(is_over) < 5
    assert "a task took more than 0.5 s" in capfd.readouterr().err
    wait_until(lambda: (ours.reconcile(), pid not in children())[1])  # collected, no zombie


def test_each_turn_of_the_loop_touches_the_file_that_the_health_check_reads(tmp_path: Path) -> None:
    ours = forking(tmp_path)
    ours.reconcile()
    os.utime(tmp_path / "beat", (0, 0))
    assert health("beat", str(tmp_path / "beat"), "60") == 1
    ours.reconcile()
    assert health("beat", str(tmp_path / "beat"), "60") == 0


def health(*arguments: str) -> int:
    command = [sys.executable, str(ROOT / "docker" / "health.py"), *arguments]
    return subprocess.run(command, capture_output=True, timeout=60).returncode


LOOP = """
import os, sys, time
from pathlib import Path
from client.node.executor import keep_running

folder = Path(sys.argv[1])

def work():
    number = len(list(folder.glob("start-*")))
    (folder / f"start-{number}").write_text(str(os.getpid()))
    if number == 0:
        time.sleep(30)           # stands still
    for _ in range(int(sys.argv[2])):
        (folder / "beat").touch()
        time.sleep(0.1)
    os._exit(7)

sys.exit(keep_running(work, beat=folder / "beat", limit_s=1.0))
"""


def loop(folder: Path, turns: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", LOOP, str(folder), str(turns)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_a_loop_that_stands_still_is_ended_and_started_again_and_a_turning_one_is_not(
    tmp_path: Path,
) -> None:
    with loop(tmp_path, turns=25) as watched:
        assert watched.wait(60) == 7
    first, second = (int((tmp_path / f"start-{number}").read_text()) for number in (0, 1))
    assert not is_running(first)
    assert not is_running(second)
    assert len(list(tmp_path.glob("start-*"))) == 2  # 2.5 s of turns outlast the limit of 1 s


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_loop_ends_with_its_watcher_however_that_ends(tmp_path: Path, number: int) -> None:
    (tmp_path / "start-0").touch()
    with loop(tmp_path, turns=3000) as watched:
        wait_until((tmp_path / "start-1").exists, at_most_s=60)
        wait_until(lambda: (tmp_path / "start-1").read_text() != "")
        pid = int((tmp_path / "start-1").read_text())
        watched.send_signal(number)
        watched.wait(20)
        wait_until(lambda: not is_running(pid))
