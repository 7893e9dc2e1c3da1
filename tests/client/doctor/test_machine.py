"""What the doctor says of processor and GPU: whether a round on them could be repeated."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from client.doctor import machine
from client.doctor.machine import REPEATABLE_WORKSPACES, look_at_processor


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU that adds correctly."""
    ones = torch.ones
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(name="GPU X"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**33, 2**34))
    monkeypatch.setattr(torch, "ones", lambda n, device: ones(n))


@pytest.mark.parametrize("workspace", [None, "", ":1:1"])
def test_a_gpu_whose_results_could_not_repeat_is_a_problem(
    workspace: str | None, gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    if workspace is not None:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", workspace)
    line = look_at_processor()
    assert line.state == "problem"
    assert f"CUBLAS_WORKSPACE_CONFIG is {workspace or 'not set'}" in line.fact
    assert "GPU X" in line.fact


@pytest.mark.parametrize("workspace", REPEATABLE_WORKSPACES)
def test_a_gpu_whose_results_repeat_is_in_order(
    workspace: str, gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", workspace)
    line = look_at_processor()
    assert line.state == "ok"
    assert "GPU X" in line.fact


@pytest.mark.parametrize("branch", [None, "", "OFF", "AVX9"])
def test_a_processor_whose_results_could_not_repeat_is_a_problem(
    branch: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.delenv("MKL_CBWR", raising=False)
    if branch is not None:
        monkeypatch.setenv("MKL_CBWR", branch)
    line = look_at_processor()
    assert line.state == "problem"
    assert f"MKL_CBWR is {branch or 'not set'}: no round could be repeated" in line.fact


@pytest.mark.parametrize("branch", ["AUTO", "AVX2,STRICT", "COMPATIBLE"])
def test_a_processor_whose_results_repeat_is_in_order(
    branch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("MKL_CBWR", branch)
    assert look_at_processor().state == "ok"


def test_a_torch_without_mkl_needs_no_setting_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("MKL_CBWR", "OFF")
    assert look_at_processor().state == "ok"


def test_files_in_the_cache_are_memory_that_a_container_can_have_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "Path", lambda _: tmp_path)
    (tmp_path / "memory.max").write_text("8000\n")
    (tmp_path / "memory.current").write_text("5000\n")
    (tmp_path / "memory.stat").write_text("anon 3000\ninactive_file 1500\nactive_file 500\n")
    assert machine._memory_left_to_container() == 8000 - 5000 + 1500
    (tmp_path / "memory.max").write_text("max\n")
    assert machine._memory_left_to_container() == float("inf")
