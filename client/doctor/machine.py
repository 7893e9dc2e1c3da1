"""What ``doctor`` says of the machine: versions, processor and GPU, memory, disk, decoders.

Imports torch, numpy and the decoders only where they are looked at.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

from shared.machine.line import Line, attention, look_at_disk, observe, ok, problem, write_bytes
from shared.signing.code_hash import installed_code_hash

# First parts of the versions that this release was tested with; pyproject.toml pins the same.
TESTED = {"flwr": "1.42", "torch": "2.13", "opacus": "1.6", "pydicom": "3.0"}
TINY_FILMS = Path(__file__).parent / "tiny_films"
# Of cuBLAS: with another, torch refuses to multiply where results must repeat.
REPEATABLE_WORKSPACES = (":4096:8", ":16:8")
# Of MKL (oneMKL guide, "Values for the CBWR Code Branch"), STRICT or not: with another, OFF included, a
# product may round by where its numbers lie in memory.
REPEATABLE_BRANCHES = (
    *("AUTO", "COMPATIBLE", "SSE2", "SSE3", "SSSE3", "SSE4_1", "SSE4_2"),
    *("AVX", "AVX2", "AVX512", "AVX512_E1"),
)
_LOSSY_LEVELS = 2  # of 255; lossless syntaxes must be exact
_LOSSY = tuple(f"1.2.840.10008.1.2.4.{syntax}" for syntax in (50, 51, 81, 91, 203))
_LEAST_MEMORY, _COMFORTABLE_MEMORY = 1.5 * 2**30, 4 * 2**30
_LEAST_DISK, _COMFORTABLE_DISK = 1 * 2**30, 10 * 2**30


def look_at_machine(folder: Path, *, is_quick: bool) -> list[Line]:
    """Lines about the machine that holds ``folder``; quick: without importing torch or decoding."""
    lines = observe("versions", _versions)
    lines += observe("memory", lambda: _memory(is_quick=is_quick))
    lines += observe("disk", lambda: _disk(folder))
    if not is_quick:
        lines += [*observe("processor", look_at_processor), *observe("decoders", decode_tiny_films)]
    return lines


def _versions() -> Line:
    found = {name: _version(name) for name in TESTED}
    fact = ", ".join(
        [
            f"python {platform.python_version()}",
            *(f"{name} {version or 'missing'}" for name, version in found.items()),
            f"osteofed code {installed_code_hash()[:12]}",
        ]
    )
    other = [
        f"{name} {TESTED[name]}"
        for name, version in found.items()
        if not version or not version.startswith(f"{TESTED[name]}.")
    ]
    if other or sys.version_info < (3, 11):
        wanted = ", ".join(other) or "python 3.11"
        return problem("versions", fact, f"install {wanted}: other versions were not tested")
    return ok("versions", fact)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _memory(*, is_quick: bool) -> Line:
    """Little memory at the moment fails no container that works: a round may be what took it."""
    of_machine, of_container = _free_memory(), _memory_left_to_container()
    free = min(of_machine, of_container)
    whose = "this machine" if of_machine <= of_container else "what this container may take"
    fact = f"{write_bytes(free)} of {whose} is free now"
    if free < _LEAST_MEMORY:
        state = attention if is_quick else problem
        remedy = (
            "a small round takes about 1.5 GiB: unless one runs now, end other programs or allow more"
        )
        return state("memory", fact, remedy)
    if free < _COMFORTABLE_MEMORY:
        remedy = "enough for small plans; `osteofed-site rehearse` measures what a plan takes"
        return attention("memory", fact, remedy)
    return ok("memory", fact)


def _free_memory() -> float:
    """MemAvailable of Linux; what others leave at the moment elsewhere."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found = {line.split(":")[0]: line.split()[1] for line in lines}
        return float(found["MemAvailable"]) * 1024
    except (OSError, KeyError):
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _memory_left_to_container() -> float:
    """What cgroup version 2 still allows; endless where nothing is set."""
    folder = Path("/sys/fs/cgroup")
    try:
        most = (folder / "memory.max").read_text().strip()
        if most == "max":
            return float("inf")
        cached = 0.0
        for line in (folder / "memory.stat").read_text().splitlines():
            if line.startswith("inactive_file "):
                cached = float(line.split()[1])
        return float(most) - float((folder / "memory.current").read_text()) + cached
    except (OSError, ValueError):
        return float("inf")


def _disk(folder: Path) -> Line:
    return look_at_disk(
        folder,
        "the site's",
        least=_LEAST_DISK,
        comfortable=_COMFORTABLE_DISK,
        full="make room: a charge that cannot be written stops every round",
        tight="cohorts and tokens take about 0.1 MB and 0.1 to 0.5 MB a film",
    )


def look_at_processor() -> Line:
    """Cores and GPU, and whether both add correctly and in the same way each time."""
    import torch

    cores = len(os.sched_getaffinity(0))
    branch = os.environ.get("MKL_CBWR", "")
    has_mkl = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    if has_mkl and not _repeats(branch):
        return problem(
            "processor",
            f"{cores} cores; MKL_CBWR is {branch or 'not set'}: no round could be repeated",
            "set it to AUTO before the program starts, or unset it",
        )
    if not torch.cuda.is_available():
        why = "no CUDA device is visible" if torch.version.cuda else "torch is a CPU build"
        return ok("processor", f"{cores} cores; {why}, so rounds run on the CPU")
    properties = torch.cuda.get_device_properties(0)
    free, total = torch.cuda.mem_get_info(0)
    fact = f"{properties.name}, {write_bytes(free)} of {write_bytes(total)} free; {cores} cores"
    if float(torch.ones(8, device="cuda").sum()) != 8:
        return problem("processor", f"{fact}; it adds up wrongly", "check driver and device")
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    if workspace not in REPEATABLE_WORKSPACES:
        return problem(
            "processor",
            f"{fact}; CUBLAS_WORKSPACE_CONFIG is {workspace or 'not set'}: no round could be repeated",
            f"set it to {' or '.join(REPEATABLE_WORKSPACES)} before the program starts, or unset it",
        )
    return ok("processor", fact)


def _repeats(branch: str) -> bool:
    """Whether MKL takes the same instructions whatever the alignment, under this value of MKL_CBWR."""
    return branch.upper().removesuffix(",STRICT") in REPEATABLE_BRANCHES


def decode_tiny_films(folder: Path = TINY_FILMS) -> Line:
    """Whether each transfer syntax really decodes: a ramp of 32 × 32 pixels that is stored in each."""
    import numpy as np

    from client.intake.decode import DECODERS
    from client.intake.dicom import read_film
    from shared.errors import IntakeError

    ramp = 5 + 4 * np.add.outer(np.arange(32), np.arange(32))
    failed = []
    for syntax in DECODERS:
        allowed = _LOSSY_LEVELS if syntax in _LOSSY else 0
        try:
            pixels = read_film(folder / f"{syntax}.dcm").picture.pixels
        except IntakeError:
            failed.append(syntax)
            continue
        if pixels.shape != ramp.shape or float(np.abs(pixels - ramp).max()) > allowed:
            failed.append(syntax)
    fact = f"{len(DECODERS) - len(failed)} of {len(DECODERS)} transfer syntaxes decode"
    if failed:
        return problem(
            "decoders",
            f"{fact}; not {', '.join(failed)}",
            "install imagecodecs, python-gdcm and pydicom again, or films of these will be quarantined",
        )
    return ok("decoders", fact)
