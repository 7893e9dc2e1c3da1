"""What the doctor says of a GPU: whether a round on it could be repeated."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

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
