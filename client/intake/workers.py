"""Films are read in processes of their own: a decoder that crashes, hangs or swells costs one film.

Results come back in the order of the paths, whatever the number of workers, as bytes and JSON
(``client.intake.read_film``): a worker that a film has taken over can send data and nothing else. It
may use ``MEMORY_BYTES`` beyond what it starts with and ``FILM_TIMEOUT_S`` per film. Imports the exam
package.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing as mp
import os
import resource
import signal
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from client.intake.dicom import Film, Laterality, read_film, read_patient_id
from client.intake.film_regions import EMPTY_MASK, UNUSED_FILM, FilmRegions, mask_in, read_regions
from client.intake.film_sides import CONFLICTING_SIDE, contradicts, is_paired, named_side
from client.intake.film_words import find_view, understand, why_none
from client.intake.overview import draw_overview
from client.intake.png_film import png_patient_id, read_png_film
from client.intake.read_film import NO_PICTURE, ReadCrop, ReadFilm, decode_read, encode_read
from client.intake.regions import Region, Regions
from client.site.profile import FilmWords, SiteProfile
from shared.errors import IntakeError
from shared.exam.pixels import Picture, is_mirrored, prepare
from shared.exam.schema import CohortSchema, CropRule, FilmFiles, ViewRule

FILM_TIMEOUT_S = 120.0
MEMORY_BYTES = 4 * 2**30  # a film of MAX_PIXELS needs about 2 GiB on its way to a small image
DECODER_FAILED = "intake.decoder-failed"
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_MOST_BYTES = 2**30  # of one result: a film's crops and masks need far less
_AHEAD = 4  # films in flight per worker: bounds what waits for its turn


@dataclass(frozen=True)
class ReadingRule:
    """How a worker reads: the schema's views and image edge, the site's unnamed sides and its words.

    ``films``: what the files are, as the schema says; ``regions``: what is given beside them,
    and ``crops``: what of them is seen.
    """

    views: tuple[ViewRule, ...]
    image_pixels: int
    default_laterality: Literal["L", "R", "B"] | None
    film_words: FilmWords = field(default_factory=FilmWords)
    films: FilmFiles = "dicom"
    regions: Regions = field(default_factory=Regions)
    crops: CropRule | None = None

    @staticmethod
    def of(schema: CohortSchema, profile: SiteProfile, regions: Regions | None = None) -> ReadingRule:
        """The rule of a schema at a hospital."""
        return ReadingRule(
            schema.views,
            schema.image_pixels,
            profile.default_laterality,
            profile.films,
            schema.films,
            regions or Regions(),
            schema.crops,
        )

    def read(self, path: Path) -> Film:
        """One file as a film. Raises IntakeError: it may not or cannot be used."""
        return read_png_film(path) if self.films == "png_tree" else read_film(path)

    def image_of(self, image: bytes) -> NDArray[np.float16]:
        """An image [h, w] from its bytes."""
        return np.frombuffer(image, np.float16).reshape(self.image_pixels, self.image_pixels)

    def mask_of(self, packed: bytes) -> NDArray[np.bool_] | None:
        """A mask [h, w] from its packed bits; None where there are none."""
        if not packed:
            return None
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=self.image_pixels**2)
        return bits.astype(np.bool_).reshape(self.image_pixels, self.image_pixels)

    def patient_id(self, path: Path) -> str:
        """The patient of a file that could not be read, empty where nothing names one."""
        return png_patient_id(path) if self.films == "png_tree" else read_patient_id(path)


def usable_cores(quota: Path = _QUOTA) -> int:
    """Cores that this process may use: those it is bound to, or fewer where its group has a quota.

    ``quota``: ``cpu.max`` of the control group (Linux cgroup v2): microseconds of each period.
    """
    cores = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):  # no such group, or "max"
        share, period = (int(number) for number in quota.read_text().split())
        cores = min(cores, max(1, share // period))
    return cores


def read_one(path: Path, rule: ReadingRule) -> ReadFilm:
    """From file to image, in this process; a refusal is its code."""
    given = rule.regions.of_film(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return ReadFilm(code="intake.not-dicom")
        film = rule.read(path)
        given = rule.regions.of_film(path, film.sop_instance_uid)
        shown = understand(film.words, rule.film_words, rule.views)
        name = find_view(shown, rule.views)
        view = next((view for view in rule.views if view.name == name), None)
        side = _side(film, rule, view) if view and is_paired(view) else None
        seen = replace(film, picture=NO_PICTURE, laterality=side)
        if view is None:
            code = why_none(shown, rule.views)
            return ReadFilm(code=code, words=shown.words, film=seen, regions=_unused(given))
        if is_paired(view) and _is_disputed(film, rule, view):
            return ReadFilm(code=CONFLICTING_SIDE, words=shown.words, film=seen, regions=_unused(given))
        mirror = is_mirrored(side) and not shown.is_from_side
        image, framing = prepare(
            film.picture,
            rule.image_pixels,
            anatomy=view.anatomy,
            window_mm=view.window_mm,
            mirror=mirror,
        )
        found = read_regions(given, film.picture, rule.crops, rule.film_words.units)
        codes = dict(found.codes)
        crops = _prepare_crops(found, film.picture, codes, rule, mirror=mirror)
        mask = mask_in(found.bone, framing.window, rule.image_pixels, mirror=mirror)
        if mask is None and rule.crops is None:  # masks beside the window
            codes = {place: code or EMPTY_MASK for place, code in codes.items()}
        return ReadFilm(
            words=shown.words,
            film=seen,
            view=view.name,
            image=image.astype(np.float16).tobytes(),
            overview=draw_overview(film.picture).tobytes(),
            mask=_packed(mask),
            framing=framing,
            regions=tuple(codes.items()),
            crops=crops,
        )
    except IntakeError as error:
        return ReadFilm(code=error.code, patient_id=rule.patient_id(path), regions=_unused(given))
    except (OSError, MemoryError, ValueError, ArithmeticError):
        return ReadFilm(code="intake.unreadable-dicom", regions=_unused(given))


def _prepare_crops(
    found: FilmRegions, picture: Picture, codes: dict[str, str], rule: ReadingRule, *, mirror: bool
) -> tuple[ReadCrop, ...]:
    """The crops of a film; one that cannot be used gets a code."""
    n, crops = rule.image_pixels, []
    for crop in found.crops:
        image, framing = prepare(picture, n, mirror=mirror, window=crop.window)
        if framing.flags:
            codes[crop.place] = framing.flags[0]
            continue
        mask = mask_in(crop.mask, framing.window, n, mirror=mirror)
        if crop.mask is not None and mask is None:
            codes[f"{crop.place} mask"] = EMPTY_MASK
        small = image.astype(np.float16).tobytes()
        crops.append(ReadCrop(unit=crop.unit, image=small, mask=_packed(mask), framing=framing))
    return tuple(crops)


def _packed(mask: NDArray[np.bool_] | None) -> bytes:
    return b"" if mask is None else np.packbits(mask).tobytes()


def _unused(regions: Iterable[Region]) -> tuple[tuple[str, str], ...]:
    """Regions of a film that is not used."""
    return tuple((region.place, UNUSED_FILM) for region in regions)


def _side(film: Film, rule: ReadingRule, view: ViewRule) -> Laterality | None:
    """The side of a paired part: of its tags, else of its words, else of the site's rule."""
    return film.laterality or named_side(film.words, rule.film_words, view) or rule.default_laterality


def _is_disputed(film: Film, rule: ReadingRule, view: ViewRule) -> bool:
    """Whether tags, or a tag and words, name opposite sides."""
    return film.has_two_sides or contradicts(film.laterality, film.words, rule.film_words, view)


def read_films(
    paths: Sequence[Path], rule: ReadingRule, *, workers: int = 1, timeout_s: float | None = None
) -> Iterator[ReadFilm]:
    """One result per path, in order, from ``workers`` processes, which go on while one is looked at."""
    patience = FILM_TIMEOUT_S if timeout_s is None else timeout_s
    crew = [_Worker(rule, patience) for _ in range(min(workers, len(paths)))]
    found: dict[int, ReadFilm] = {}
    todo = enumerate(paths)
    try:
        for turn in range(len(paths)):
            while True:
                _employ(crew, todo, n_waiting=len(found), most=_AHEAD * workers)
                if turn in found:
                    break
                found |= _collect(crew)
            yield found.pop(turn)
            found |= _collect(crew, patience_s=0.0)
    finally:
        for worker in crew:
            worker.stop()


def _employ(
    crew: Sequence[_Worker], todo: Iterator[tuple[int, Path]], *, n_waiting: int, most: int
) -> None:
    """Give idle workers the next films, as long as few enough results wait for their turn."""
    n_busy = sum(worker.index is not None for worker in crew)
    idle = [worker for worker in crew if worker.index is None][: max(0, most - n_waiting - n_busy)]
    for worker, (index, path) in zip(idle, todo, strict=False):
        worker.give(index, path)


def _collect(crew: Sequence[_Worker], patience_s: float = math.inf) -> dict[int, ReadFilm]:
    """Results that are there, or the first that come; who is over time or dead has failed."""
    busy = [worker for worker in crew if worker.index is not None]
    first = min((worker.deadline for worker in busy), default=0.0) - time.monotonic()
    ready = wait([worker.line for worker in busy], timeout=max(0.0, min(first, patience_s)))
    late = time.monotonic()
    return dict(worker.take() for worker in busy if worker.line in ready or worker.deadline <= late)


class _Worker:
    """One process and its line; starts again after a crash."""

    def __init__(self, rule: ReadingRule, timeout_s: float) -> None:
        self._rule = rule
        self._timeout_s = timeout_s
        self.index: int | None = None
        self.deadline = 0.0
        self._start()

    def _start(self) -> None:
        context = mp.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self.line, far_end = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_serve, args=(far_end, self._rule), daemon=True
        )
        self._process.start()
        far_end.close()

    def give(self, index: int, path: Path) -> None:
        """Start reading a film."""
        self.index = index
        self.deadline = time.monotonic() + self._timeout_s
        with contextlib.suppress(OSError):  # a dead worker is found out when its result is taken
            self.line.send_bytes(os.fsencode(path))

    def take(self) -> tuple[int, ReadFilm]:
        """The film's index and result; a worker that cannot answer is replaced."""
        index = self.index or 0
        self.index = None
        try:
            if self.line.poll():
                return index, decode_read(self.line.recv_bytes(_MOST_BYTES))
        except (EOFError, OSError, ValueError):
            pass
        self.stop()
        self._start()
        return index, ReadFilm(code=DECODER_FAILED)

    def stop(self) -> None:
        """End the process, in the middle of a film if need be."""
        self.line.close()
        self._process.kill()
        self._process.join()


def _serve(line: Connection, rule: ReadingRule) -> None:
    """A worker's life: paths in, results out, until the line closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _bound_memory()
    # Decoders write about damaged streams; what they quote may come from the file.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with contextlib.suppress(EOFError, OSError):
        while True:
            path = Path(os.fsdecode(line.recv_bytes()))
            line.send_bytes(encode_read(read_one(path, rule)))


def _bound_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY_BYTES
    _, ceiling = resource.getrlimit(resource.RLIMIT_AS)
    if ceiling != resource.RLIM_INFINITY:
        most = min(most, ceiling)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
