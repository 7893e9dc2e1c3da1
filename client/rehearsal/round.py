"""Time and memory of one round of a plan, over random values in the shape of this site's cohort.

Who is in a round decides how long it takes, their values do not: none is looked at. Imports the
plan's training.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from client.cohort.assemble import ExamArrays
from client.cohort.folder import Cohort
from client.cohort.tokens import encoded_blocks, encoder_file, film_places
from client.site.folder import Site
from shared.contract.model_settings import EncoderSettings
from shared.contract.plan import Plan
from shared.contract.settings import PlanSettings
from shared.contract.stages import TrainingStage
from shared.stages.in_memory import rounds_in_memory
from shared.train.device import choose_device
from shared.train.patients import PatientBatch, build_patients
from shared.train.public_batch import draw_images

_ENCODED_FILMS = 8
# "unknown": the encoder's weights are not here; the coordinator sends them after approval.
Encoding = Literal["not needed", "done", "needed", "unknown"]


@dataclass
class Peak:
    """The most memory this process held, in bytes, filled in when measuring ends."""

    memory_bytes: int = 0
    gpu_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class RoundMeasure:
    """One round over this cohort's shape; before it, films may have to be encoded once.

    ``encoding_s``: how long that would take, where ``encoding`` is "needed".
    """

    seconds: float
    memory_bytes: int
    gpu_bytes: int
    encoding: Encoding
    encoding_s: float | None


def measure_round(
    site: Site, plan: Plan, stage: TrainingStage, cohort: Cohort, arrays: ExamArrays
) -> RoundMeasure:
    """Time and memory of one round over random values in the shape of this site's training split."""
    with peak_memory() as peak:
        patients = {site.name: draw_in_shape_of(plan.settings, cohort, arrays)}
        rounds = rounds_in_memory(plan, stage, patients, encoder_file=held_encoder(site, plan))
        next(rounds)  # the state that training starts from
        began = time.perf_counter()
        next(rounds)
        seconds = time.perf_counter() - began
    encoding = look_for_tokens(site, plan, cohort)
    return RoundMeasure(
        seconds=seconds,
        memory_bytes=peak.memory_bytes,
        gpu_bytes=peak.gpu_bytes,
        encoding=encoding,
        encoding_s=_encoding_time(site, plan, cohort) if encoding == "needed" else None,
    )


def draw_in_shape_of(settings: PlanSettings, cohort: Cohort, arrays: ExamArrays) -> PatientBatch:
    """Random values where this cohort's training split has values, films and labels."""
    rng = np.random.default_rng(0)
    is_frozen, n_exams = settings.encoder.training == "frozen", len(arrays.exams)
    target = rng.normal(size=n_exams)
    if settings.task.kind != "regression":
        target = rng.integers(0, 2, n_exams).astype(np.float64)
    n_films = len(cohort.images) if settings.reads_films else 0
    images = draw_images(settings, (n_films,), torch.Generator().manual_seed(0))
    return build_patients(
        fields=_random_fields(settings, n_exams, rng),
        field_mask=arrays.field_mask,
        target=np.where(arrays.exam_mask, target, np.nan),
        patient_index=arrays.patient_index,
        exam_films=[films if settings.reads_films else () for films in arrays.exam_films],
        film_order=cohort.film_keys(),
        exam_order=[exam.exam for exam in arrays.exams],
        tokens=images if is_frozen else None,
        films=None if is_frozen else images.half(),
        film_columns=rng.normal(size=(n_films, settings.features.layout.film_width)),
        max_views=settings.caps.max_views,
        max_exams=settings.caps.max_exams,
    )


def _random_fields(
    settings: PlanSettings, n_exams: int, rng: np.random.Generator
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    columns = [
        rng.integers(0, len(field.categories), n_exams)
        if field.kind == "category"
        else rng.normal(size=n_exams)
        for field in settings.cohort.fields
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def look_for_tokens(site: Site, plan: Plan, cohort: Cohort) -> Encoding:
    """Whether frozen encoders have to turn this cohort's films into tokens, or have done so."""
    blocks = encoded_blocks(site, plan, cohort)
    if not blocks or not len(cohort.images):
        return "not needed"
    lacking = [encoder for path, encoder in blocks if not path.exists()]
    if not lacking:
        return "done"
    is_here = all(site.encoder_file(encoder.sha256).exists() for encoder in lacking)
    return "needed" if is_here else "unknown"


def _encoding_time(site: Site, plan: Plan, cohort: Cohort) -> float:
    """Seconds to make what is lacking of every film and place for one; from a few random films."""
    blocks = encoded_blocks(site, plan, cohort)
    lacking = [encoder for path, encoder in blocks if not path.exists()]
    a_film = [_time_of_a_film(site, plan, encoder) for encoder in lacking]
    return sum(a_film) * max(len(cohort.images), film_places(site, plan))


def _time_of_a_film(site: Site, plan: Plan, settings: EncoderSettings) -> float:
    from shared.model.encoders import encode, load_encoder

    file = site.encoder_file(settings.sha256)
    encoder = load_encoder(settings, file).to(choose_device(plan.settings.device))
    pixels = plan.settings.cohort.image_pixels
    films = torch.rand(_ENCODED_FILMS, 1, pixels, pixels, generator=torch.Generator().manual_seed(0))
    encode(encoder, films[:1])  # the first call sets things up
    began = time.perf_counter()
    encode(encoder, films)
    return (time.perf_counter() - began) / _ENCODED_FILMS


def held_encoder(site: Site, plan: Plan) -> Path | None:
    """The encoder's file if it is here already; a coordinator sends it only after approval."""
    file = encoder_file(site, plan)
    return file if file is not None and file.exists() else None


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measure the peak of memory within the block; since the start where the system cannot reset it."""
    peak = Peak()
    with suppress(OSError):  # a read-only /proc
        Path("/proc/self/clear_refs").write_text("5")  # Linux: resets VmHWM
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    yield peak
    peak.memory_bytes = _high_water_bytes()
    if torch.cuda.is_available():
        peak.gpu_bytes = torch.cuda.max_memory_allocated()


def _high_water_bytes() -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
