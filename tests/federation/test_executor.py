"""The hospital's executor: which names of Flower it replaces, and what it runs."""

from __future__ import annotations

import os

from flwr.supercore.constant import TaskType
from flwr.supercore.superexec import run_superexec
from flwr.supercore.superexec.executor.types import ExecutionSpec, LaunchResultStatus
from flwr.supernode.runtime import run_clientapp

from client import executor
from client.app import app


def test_flower_still_calls_the_names_that_the_executor_replaces() -> None:
    assert "get_executor" in run_superexec.run_superexec.__code__.co_names
    called = run_clientapp.run_clientapp.__code__.co_names
    assert {"install_from_fab", "get_load_client_app_fn"} <= set(called)


def test_what_is_loaded_is_the_installed_client_whatever_bundle_came() -> None:
    load = executor._load_installed(default_app_ref="", app_path=None, multi_app=True)
    assert load("someone/else", "6.6.6", "f" * 64) is app


def test_a_site_refuses_to_run_a_server_task() -> None:
    spec = ExecutionSpec(
        task_type=TaskType.SERVER_APP,
        runtime_api_address="127.0.0.1:1",
        token="t",
        insecure=True,
        root_certificates_path=None,
        runtime_dependency_install=False,
        parent_pid=os.getpid(),
        suppress_output=True,
        task_id=1,
    )
    result = executor.ForkingExecutor().launch(spec)
    assert result.status == LaunchResultStatus.FAILED
