"""How much memory hostile films make the reading process take, measured from outside it."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from practice_fuzz import FILM_DAMAGES, deflated_bomb, seeds
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from client.intake import workers as intake_workers
from client.intake.dicom import MAX_FILE_BYTES
from client.intake.workers import ReadingRule

RESET_PEAK = "5"  # proc(5), /proc/pid/clear_refs: resets VmHWM
Bomb = Callable[[Path, Sequence[bytes]], None]


def measure_films(
    paths: Sequence[Path], rule: ReadingRule, *, timeout_s: float = 60.0
) -> Iterator[tuple[str, int | None]]:
    """Each film's code, and the bytes its worker held at most beyond what it held before.

    None stands for a worker that is gone: nobody knows what it took.
    """
    worker = intake_workers._Worker(rule, timeout_s)
    try:
        for index, path in enumerate(paths):
            status = Path(f"/proc/{worker._process.pid}/status")
            status.with_name("clear_refs").write_text(RESET_PEAK)
            before = _bytes_of(status, "VmRSS")
            worker.give(index, path)
            worker.line.poll(timeout_s)
            peak = _bytes_of(status, "VmHWM")
            _, read = worker.take()
            yield read.code or "used", None if peak is None or before is None else peak - before
    finally:
        worker.stop()


@dataclass
class Growth:
    """The bytes this process held at most beyond what it held before, filled in at the end."""

    peak_bytes: int = 0


@contextmanager
def measured_growth() -> Iterator[Growth]:
    """Measure this process within the block."""
    status = Path("/proc/self/status")
    status.with_name("clear_refs").write_text(RESET_PEAK)
    growth, before = Growth(), _bytes_of(status, "VmRSS")
    yield growth
    growth.peak_bytes = _bytes_of(status, "VmHWM") - before


def _bytes_of(status: Path, name: str) -> int | None:
    lines = status.read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)


def write_damaged(kind: int, folder: Path, bases: Sequence[bytes], n: int) -> list[Path]:
    """``n`` films with one kind of damage."""
    paths = []
    for number, rng in enumerate(seeds(kind, n)):
        paths.append(folder / f"{number}.dcm")
        paths[-1].write_bytes(FILM_DAMAGES[kind](bases[int(rng.integers(len(bases)))], rng))
    return paths


def write_deflated_zeros(path: Path, bases: Sequence[bytes]) -> None:
    """600 MiB of zeros in 600 KiB."""
    path.write_bytes(deflated_bomb(bases[0], n_blocks=300))


def write_endless_file(path: Path, bases: Sequence[bytes]) -> None:
    """A sound header, then pixel data as long as the largest file and a half."""
    n_bytes = MAX_FILE_BYTES * 3 // 2
    at = bases[0].rindex(b"\xe0\x7f\x10\x00")
    header = bases[0][:at] + b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", n_bytes)
    with path.open("wb") as stream:
        stream.write(header)
        stream.truncate(len(header) + n_bytes)  # a hole: it takes no space on the disk


def write_huge_matrix(path: Path, bases: Sequence[bytes]) -> None:
    """400 million pixels, all zero, run-length encoded (PS3.5 G.3) in 6 MB."""
    edge = 20_000
    film = dcmread(io.BytesIO(bases[0]))
    film.file_meta.TransferSyntaxUID = RLELossless
    film.Rows = film.Columns = edge
    film.BitsAllocated, film.BitsStored, film.HighBit = 8, 8, 7
    one_segment = struct.pack("<16I", 1, 64, *[0] * 14)
    film.PixelData = encapsulate([one_segment + b"\x81\0" * (edge * edge // 128)])
    film["PixelData"].is_undefined_length = True
    film["PixelData"].VR = "OB"
    film.save_as(path)


BOMBS: tuple[Bomb, ...] = (write_deflated_zeros, write_endless_file, write_huge_matrix)
