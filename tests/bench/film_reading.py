"""Films of real size: reading beside pydicom with MONAI's area resize, memory, whole intakes, again.

``python tests/bench/film_reading.py [--films 200] [--repeats 5] [--field]`` prints the part of
``docs/ingest.md`` that ``make measure-ingest`` puts there. Both ways see the same files in turns on one
thread, each way's fastest repeat counts; values are compared before times are.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import argparse
import multiprocessing as mp
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), *(str(ROOT / "tests" / part) for part in ("practice", "intake"))]

SHAPE = (3000, 2500)
EDGE = 128
SYNTAXES = {
    "raw": "1.2.840.10008.1.2.1",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG Lossless": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
}
# Our time as a share of the peer's, at most.
TARGETS = {"raw": 0.9, "RLE": 0.9, "JPEG Lossless": 0.5, "JPEG-LS": 0.6, "JPEG 2000": 0.9}
FIELD_MS = 40  # asked of field and anatomy, at most
WINDOW_MM = 128.0
PROCESSES = 2


def draw_film() -> NDArray[np.uint16]:
    """A hip of 12 bits, enlarged, with the noise of a detector."""
    from scipy.ndimage import zoom

    from server.synthetic.exams import draw_exams
    from server.synthetic.hospitals import BIRCH

    [exam] = draw_exams(BIRCH, 1, np.random.default_rng(5))
    small = exam.films[0].pixels.astype(np.float64)
    large = zoom(small, np.array(SHAPE) / small.shape, order=1)
    noise = np.random.default_rng(1).normal(0, 8, SHAPE)
    return np.asarray((large + noise).clip(0, 4095), dtype=np.uint16)


def read_ours(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Values and small image by the intake's own steps."""
    from client.intake.dicom import read_film
    from shared.exam.resize import average, even_edges

    pixels = read_film(path).picture.pixels
    height, width = pixels.shape
    edges = even_edges(0, height, EDGE), even_edges(0, width, round(EDGE * width / height))
    return pixels, average(pixels, *edges)


def read_peer(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Values and small image by pydicom's defaults and MONAI."""
    from monai.transforms import Resize
    from pydicom import dcmread
    from pydicom.pixels import apply_voi_lut

    film = dcmread(path)
    pixels = apply_voi_lut(film.pixel_array, film).astype(np.float32)
    width = round(EDGE * pixels.shape[1] / pixels.shape[0])
    small = Resize((EDGE, width), mode="area")(pixels[None])[0].numpy()
    return pixels, small


def exact_means(pixels: NDArray[np.float32]) -> NDArray[np.float64]:
    """The mean over the area of each new pixel, as a product with the shares of old ones."""

    def shares(n_in: int, n_out: int) -> NDArray[np.float64]:
        starts = np.arange(n_out)[:, None] * n_in / n_out
        ends = np.minimum(starts + n_in / n_out, np.arange(n_in) + 1)
        return (ends - np.maximum(starts, np.arange(n_in))).clip(0) * n_out / n_in

    width = round(EDGE * pixels.shape[1] / pixels.shape[0])
    return shares(pixels.shape[0], EDGE) @ pixels @ shares(pixels.shape[1], width).T


def compare(path: Path, repeats: int) -> tuple[float, float, float]:
    """Least CPU ms of both ways in turns, and how far our small image is from the exact means."""
    (pixels, small), (same, _) = read_ours(path), read_peer(path)
    if not np.array_equal(pixels, same):
        raise ValueError(f"{path.name}: the two ways read other values")
    exact = exact_means(pixels)
    off = float(np.abs(small - exact).max() / np.ptp(exact))
    times: dict[bool, float] = {True: np.inf, False: np.inf}
    for is_ours in (True, False) * repeats:
        start = time.process_time()
        (read_ours if is_ours else read_peer)(path)
        times[is_ours] = min(times[is_ours], 1000 * (time.process_time() - start))
    return times[True], times[False], off


def time_field(levels: NDArray[np.uint16], repeats: int) -> list[tuple[str, float]]:
    """Least CPU ms from values to image (field, anatomy, window), where the spacing is told and not."""
    from server.synthetic.hospitals import BIRCH
    from shared.exam.pixels import Picture, prepare

    scanner = BIRCH.scanners[0]
    mm = scanner.pixel_mm * scanner.rows / SHAPE[0]
    found = []
    for told, spacing in (("told", (mm, mm)), ("not told, found in the picture", None)):
        picture = Picture(pixels=levels.astype(np.float32), pixel_mm=spacing)
        times = []
        for _ in range(repeats):
            start = time.process_time()
            prepare(picture, EDGE, anatomy="hip", window_mm=WINDOW_MM)
            times.append(1000 * (time.process_time() - start))
        found.append((told, min(times)))
    return found


def worker_mib() -> float:
    """Resident memory of a process that has imported what a worker imports, and read nothing."""
    program = (
        "import client.intake.workers, pathlib;"
        "print(pathlib.Path('/proc/self/status').read_text().split('VmRSS:')[1].split()[0])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return int(done.stdout) / 1024


def field_lines(levels: NDArray[np.uint16], repeats: int) -> list[str]:
    """The part of the section on field and anatomy, and on what a worker starts with."""
    return [
        "",
        f"Field and anatomy of such a film: from its values to the image that a model sees. CPU time, "
        f"least of {repeats} repeats; at most {FIELD_MS} ms are asked.",
        "",
        "| field and anatomy, spacing | ms | held |",
        "|---|---|---|",
        *(
            f"| {told} | {ms:.0f} | {'yes' if ms <= FIELD_MS else 'no'} |"
            for told, ms in time_field(levels, repeats)
        ),
        "",
        f"A worker holds {worker_mib():.0f} MiB before its first film.",
    ]


def peak_mib(path: Path) -> float:
    """What a worker holds at most for a film, beyond what it held before; the largest of three."""
    from practice_intake import HIP
    from practice_memory import measure_films

    from client.intake.workers import ReadingRule

    found = list(measure_films([path] * 3, ReadingRule(HIP.views, EDGE, None)))
    if any(code != "used" for code, _ in found):
        raise ValueError(f"{path.name}: not read by a worker")
    return max(peak or 0 for _, peak in found) / 2**20


def write_hospital_of(folder: Path, films: list[Path], n_films: int) -> None:
    """``n_films`` patients of one real-size film each, the syntaxes in turns, and a table of them."""
    from measure_ingest import copy_films

    from server.synthetic.folder import write_hospital
    from server.synthetic.hospitals import BIRCH, Defects

    source = folder.with_name("source")
    write_hospital(source, replace(BIRCH, n_patients=2, defects=Defects()), 3)
    for path in (source / "films").iterdir():
        path.unlink()
    for number, film in enumerate(films):
        (source / "films" / f"{number}.dcm").write_bytes(film.read_bytes())
    copy_films(source, folder, n_films)


def time_intakes(folder: Path, home: Path) -> tuple[float, float]:
    """Seconds of a first and of a second intake of an unchanged folder."""
    from practice_intake import take_in

    seconds, n_films = [], len(list((folder / "films").iterdir()))
    for _ in range(2):
        start = time.perf_counter()
        report = take_in(folder, home, workers=PROCESSES)
        seconds.append(time.perf_counter() - start)
        if report.n_films_used != n_films:
            raise ValueError(f"{report.n_films_used} of {n_films} films are used")
    return seconds[0], seconds[1]


def time_peer(folder: Path) -> float:
    """Seconds of pydicom's and MONAI's loop on as many processes, which have imported all before."""
    paths = sorted((folder / "films").iterdir())
    with mp.get_context("spawn").Pool(PROCESSES) as pool:
        pool.map(_small_by_peer, paths[:PROCESSES], chunksize=1)
        start = time.perf_counter()
        small = pool.map(_small_by_peer, paths, chunksize=1)
        seconds = time.perf_counter() - start
    return seconds if len(small) == len(paths) else np.nan


def _small_by_peer(path: Path) -> NDArray[np.float64]:
    return read_peer(path)[1]


def lines(n_films: int = 200, repeats: int = 5) -> list[str]:
    """The section of the page."""
    import torch
    from practice_streams import write_film

    torch.set_num_threads(1)
    rows, films = [], []
    with tempfile.TemporaryDirectory() as home:
        levels = draw_film()
        for name, syntax in SYNTAXES.items():
            films.append(write_film(Path(home) / f"{syntax}.dcm", levels, syntax, bits=12))
            ours, theirs, off = compare(films[-1], repeats)
            share, target = ours / theirs, TARGETS[name]
            rows.append(
                f"| {name} | {ours:.0f} | {theirs:.0f} | {share:.2f} | {target:.1f} | "
                f"{'yes' if share <= target else 'no'} | {off:.0e} | {peak_mib(films[-1]):.0f} |"
            )
        field = field_lines(levels, repeats)
        write_hospital_of(Path(home) / "many", films, n_films)
        theirs = time_peer(Path(home) / "many")
        first, second = time_intakes(Path(home) / "many", Path(home) / "site")
    return [
        "",
        "## Films of real size",
        "",
        f"One film of {SHAPE[0]} × {SHAPE[1]}, 12 bits, in each syntax, on one thread: read, decode, "
        f"bring to {EDGE} on the longer edge. *Peer* is pydicom's default decoder, `apply_voi_lut` and "
        f"MONAI's `Resize(mode='area')`. CPU time, least of {repeats} repeats in turns; both ways read "
        "equal values. *Off*: our small image from the exact means over areas, as a share of their "
        "range. *MiB*: what a worker holds at most for the film, beyond what it held before.",
        "",
        "| syntax | ours, ms | peer, ms | ours ÷ peer | at most | held | off | MiB |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        *field,
        "",
        f"A folder of {n_films} such films, the syntaxes in turns, {PROCESSES} processes, seconds by "
        "the clock: the whole intake with the start of its workers, and the peer's loop of reading, "
        "decoding and resizing alone, its imports done.",
        "",
        "| way | s | ÷ peer |",
        "|---|---|---|",
        f"| peer's loop | {theirs:.1f} | 1 |",
        f"| intake | {first:.1f} | {first / theirs:.2f} |",
        f"| second intake of the unchanged folder | {second:.1f} | {second / theirs:.3f} |",
        "",
        f"The second intake takes {second / first:.1%} of the first.",
    ]


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--field", action="store_true", help="only field, anatomy, a worker's memory")
    options = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if options.field:
            found = field_lines(draw_film(), options.repeats)
        else:
            found = lines(options.films, options.repeats)
        sys.stdout.write("\n".join(found) + "\n")


if __name__ == "__main__":
    main()
