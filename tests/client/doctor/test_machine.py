"""What the doctor says of processor and GPU: whether a round on them could be repeated."""

from __future__ import annotations

import shutil
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


def test_memory_that_nothing_tells_of_is_no_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "Path", lambda _: tmp_path)
    assert machine._memory_left_to_container() == float("inf")
    (tmp_path / "memory.max").write_text("many\n")
    (tmp_path / "memory.stat").write_text("")
    assert machine._memory_left_to_container() == float("inf")


def test_the_free_memory_of_a_machine_is_what_its_kernel_would_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "meminfo"
    told.write_text("MemTotal: 900 kB\nMemFree: 100 kB\nMemAvailable: 300 kB\n")
    monkeypatch.setattr(machine, "Path", lambda _: told)
    assert machine._free_memory() == 300 * 1024
    told.write_text("MemTotal: 900 kB\n")
    monkeypatch.setattr(machine.os, "sysconf", {"SC_PHYS_PAGES": 50, "SC_PAGE_SIZE": 4096}.get)
    assert machine._free_memory() == 50 * 4096


GIB = 2**30


@pytest.mark.parametrize(
    ("free", "state", "quick"),
    [
        (1.49 * GIB, "problem", "attention"),
        (1.5 * GIB, "attention", "attention"),
        (3.9 * GIB, "attention", "attention"),
        (4 * GIB, "ok", "ok"),
    ],
)
def test_memory_for_a_small_round_is_1_and_a_half_gib_and_4_are_comfortable(
    monkeypatch: pytest.MonkeyPatch, free: float, state: str, quick: str
) -> None:
    monkeypatch.setattr(machine, "_free_memory", lambda: 64.0 * GIB)
    monkeypatch.setattr(machine, "_memory_left_to_container", lambda: free)
    assert machine._memory(is_quick=False).state == state
    assert machine._memory(is_quick=True).state == quick


@pytest.mark.parametrize(
    ("free", "state"),
    [(GIB - 1, "problem"), (GIB, "attention"), (10 * GIB - 1, "attention"), (10 * GIB, "ok")],
)
def test_a_disk_with_less_than_1_gib_stops_rounds_and_10_are_comfortable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert machine._disk(tmp_path).state == state


def test_versions_are_well_by_their_first_two_parts_and_missing_ones_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {name: f"{first}.99" for name, first in machine.TESTED.items()}
    monkeypatch.setattr(machine, "_version", found.get)
    assert machine._versions().state == "ok"
    for name, first in machine.TESTED.items():
        for other in (f"{first}1.0", None):  # 1.41 is not 1.411
            monkeypatch.setattr(machine, "_version", (found | {name: other}).get)
            line = machine._versions()
            assert line.state == "problem"
            assert line.remedy.startswith(f"install {name} {first}:")
            assert f"{name} {other or 'missing'}" in line.fact
    monkeypatch.setattr(machine, "_version", found.get)
    monkeypatch.setattr(machine.sys, "version_info", (3, 10, 9))
    assert machine._versions().remedy.startswith("install python 3.11:")
    monkeypatch.undo()
    assert machine._version("no-such-package-of-anybody") is None


def test_a_gpu_that_adds_wrongly_is_a_problem(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = torch.zeros
    monkeypatch.setattr(torch, "ones", lambda n, device: zeros(n))
    line = look_at_processor()
    assert line.state == "problem"
    assert "adds up wrongly" in line.fact
    assert "8.0 GiB of 16.0 GiB free" in line.fact


@pytest.mark.parametrize(
    ("version", "why"), [(None, "torch is a CPU build"), ("13.0", "no CUDA device is visible")]
)
def test_why_rounds_run_on_the_cpu_is_said(
    monkeypatch: pytest.MonkeyPatch, version: str | None, why: str
) -> None:
    monkeypatch.delenv("MKL_CBWR", raising=False)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", version)
    line = look_at_processor()
    assert line.state == "ok"
    assert f"{why}, so rounds run on the CPU" in line.fact


@pytest.mark.parametrize(
    ("syntax", "off", "state"),
    [
        ("1.2.840.10008.1.2.1", 0, "ok"),
        ("1.2.840.10008.1.2.1", 1, "problem"),  # not compressed: exact, or it is broken
        ("1.2.840.10008.1.2.4.50", 2, "ok"),  # lossy: two levels are its own
        ("1.2.840.10008.1.2.4.50", 3, "problem"),
    ],
)
def test_a_lossy_syntax_may_be_two_levels_off_and_any_other_none(
    monkeypatch: pytest.MonkeyPatch, syntax: str, off: int, state: str
) -> None:
    import numpy as np

    ramp = 5 + 4 * np.add.outer(np.arange(32), np.arange(32))

    def read(path: Path) -> SimpleNamespace:
        pixels = ramp - off if path.stem == syntax else ramp
        return SimpleNamespace(picture=SimpleNamespace(pixels=pixels))

    monkeypatch.setattr("client.intake.dicom.read_film", read)
    line = machine.decode_tiny_films()
    assert line.state == state
    assert (syntax in line.fact) == (state == "problem")


def test_the_slow_looks_are_left_out_of_the_quick_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "look_at_processor", lambda: machine.ok("processor", ""))
    monkeypatch.setattr(machine, "decode_tiny_films", lambda: machine.ok("decoders", ""))
    quick = [line.name for line in machine.look_at_machine(tmp_path, is_quick=True)]
    assert quick == ["versions", "memory", "disk"]
    whole = [line.name for line in machine.look_at_machine(tmp_path, is_quick=False)]
    assert whole == [*quick, "processor", "decoders"]
