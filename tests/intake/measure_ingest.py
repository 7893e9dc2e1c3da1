"""Ingest throughput and memory at two sizes, against pydicom's default path: ``make measure-ingest``.

Each figure comes from a process of its own: one worker, one core, films of the synthetic hospital in
all its transfer syntaxes. Writes ``docs/ingest.md``. Memory is the peak of resident memory of the
intake's process. Films of real size are measured by ``tests/bench/film_reading.py``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "ingest.md"
SIZES = (200, 2000)


def copy_films(source: Path, folder: Path, n_films: int) -> None:
    """``n_films`` films of as many patients: copies with their own numbers, and a table of them."""
    import shutil

    from pydicom import dcmread

    (folder / "films").mkdir(parents=True)
    films = sorted((source / "films").iterdir())
    for number in range(n_films):
        film = dcmread(films[number % len(films)])
        film.PatientID = f"N{number:06d}"
        film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = f"2.25.{10**9 + number}"
        film.AcquisitionDate = film.StudyDate = film.ContentDate = "20210105"
        film.save_as(folder / "films" / f"{number:06d}.dcm")
    lines = (source / "clinical.csv").read_text(encoding="utf-8-sig").splitlines()
    header, cells = lines[0].split(";"), lines[1].split(";")
    rows = []
    for number in range(n_films):
        cells[header.index("patient_id")] = f"N{number:06d}"
        cells[header.index("exam_date")] = "2021-01-05"
        rows.append(";".join(cells))
    (folder / "clinical.csv").write_text("\n".join([lines[0], *rows]) + "\n")
    shutil.rmtree(source)


def run_ours(folder: Path) -> int:
    """The whole intake with one worker."""
    from practice_intake import take_in

    with tempfile.TemporaryDirectory() as home:
        return take_in(folder, Path(home), workers=1).n_films_used


def run_pydicom(folder: Path) -> int:
    """What a script would do: read, decode by pydicom's defaults, shrink, keep all in a list."""
    from pydicom import dcmread

    from shared.exam.pixels import Picture, prepare

    images = []
    for path in sorted((folder / "films").iterdir()):
        film = dcmread(path)
        images.append(
            (film.PatientID, prepare(Picture(pixels=film.pixel_array.astype("float32")), 128), film)
        )
    return len(images)


def measure(folder: Path, way: str) -> dict[str, float]:
    """Seconds, films and peak memory of one way, in a process of its own."""
    command = [sys.executable, __file__, way, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def answer(way: str, folder: Path) -> None:
    """The inner process: run, and print figures."""
    start, used = time.perf_counter(), {"ours": run_ours, "pydicom": run_pydicom}[way](folder)
    seconds = time.perf_counter() - start
    # VmHWM belongs to this program alone; ru_maxrss would begin with the parent's
    status = Path("/proc/self/status").read_text()
    peak_kib = int(status.split("VmHWM:")[1].split()[0])
    figures = {"films": used, "seconds": seconds, "peak_mib": peak_kib / 1024}
    sys.stdout.write(json.dumps(figures))


def main() -> None:
    """Write the page."""
    import film_reading

    from server.synthetic.folder import write_hospital
    from server.synthetic.hospitals import BIRCH, Defects

    rows, slopes = [], {}
    with tempfile.TemporaryDirectory() as home:
        for n_films in SIZES:
            source, folder = Path(home) / "source", Path(home) / f"n{n_films}"
            write_hospital(source, replace(BIRCH, n_patients=100, defects=Defects()), 3)
            copy_films(source, folder, n_films)
            for way in ("ours", "pydicom"):
                found = measure(folder, way)
                slopes.setdefault(way, []).append(found)
                rows.append(
                    f"| {n_films} | {way} | {found['films'] / found['seconds']:.0f} | "
                    f"{found['seconds']:.1f} | {found['peak_mib']:.0f} |"
                )
    lines = [
        "# Ingest: throughput and memory",
        "",
        "Written by `make measure-ingest`. Synthetic hip films of one hospital in its own mix of "
        "transfer syntaxes, one worker; *ours* is the whole intake (reading in a guarded process, "
        "journal, links, frozen and verified cohort), *pydicom* only reads, decodes by pydicom's "
        "defaults, normalises and keeps the results in a list. Peak memory is that of the process "
        "itself; the clock also counts what else the machine did.",
        "",
        "| films | way | films/s | s | peak MiB |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]
    for way, (small, large) in slopes.items():
        more = large["films"] - small["films"]
        slope = 1024 * (large["peak_mib"] - small["peak_mib"]) / more
        pace = more / (large["seconds"] - small["seconds"])
        lines.append(
            f"- {way}: {slope:.1f} KiB of memory and {1000 / pace:.1f} ms per further film "
            f"({pace:.0f} films/s without the start)."
        )
    lines += film_reading.lines()
    PAGE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.path[:0] = [
        str(ROOT),
        *(str(ROOT / "tests" / part) for part in ("intake", "practice", "bench")),
    ]
    if len(sys.argv) == 3:
        answer(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
