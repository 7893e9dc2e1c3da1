"""One round's update from settings, weights and patients: what a site does between charge and gate.

Also reads a release on patients. Both are used by sites and by the published figures, so that what is
measured is what runs. Imports the model, the loop and the noise.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from shared.contract.model_settings import ModelSettings
from shared.contract.stages import GradientStage
from shared.model.build import build_model, count_outputs
from shared.model.end_to_end import EndToEnd
from shared.model.weights import load_flat
from shared.privacy.noise import DrawNormals, NoiseStream
from shared.train.canaries import AuditRegister
from shared.train.device import choose_device, one_thread, repeatable
from shared.train.local_steps import one_sum, train_round
from shared.train.loss import make_patient_loss
from shared.train.patients import NO_EXAM, PatientBatch, make_batches

Floats = NDArray[np.float64]
Weights = np.ndarray[tuple[int], np.dtype[np.float32] | np.dtype[np.float64]]

# Patients computed at once. On a processor more films are no faster, and what attention keeps of more
# patients leaves its cache. A GPU waits for launches, which cost the same for few and for many.
_HEADS_AT_ONCE = {"cpu": 128, "cuda": 1024}
_ATTENTION_ON_PROCESSOR = 64
_MOST_PATIENTS_ON_GPU = 128
# What DINOv2-S with low-rank changes keeps of one film for the way back (measured; DINOv2-B keeps about
# twice of it), and the share of a GPU's memory that all of them may take.
_BYTES_A_FILM, _SHARE_OF_GPU = 176 * 2**20, 0.4


def train_update(
    settings: ModelSettings,
    stage: GradientStage,
    batch: PatientBatch,
    weights: Weights,
    *,
    divisor: int,
    draw_normals: DrawNormals | None = None,
    register: AuditRegister | None = None,
    encoder_file: Path | None = None,
    places: int = 0,
) -> Weights:
    """The bounded update [p] of one round from ``weights`` [p] on every patient of ``batch``.

    Args:
        settings: name architecture and task.
        stage: noise multiplier, learning rate, steps, bound.
        batch: the whole training split.
        weights: the round's starting weights.
        divisor: B, the size that the site declared publicly.
        draw_normals: a ``NoiseStream``, as None makes one.
        register: takes the noised sums of an audit's canaries.
        encoder_file: as ``build_model`` takes it.
        places: patients for whom there is work at least.
    """
    model, device = _trainable_model(settings, weights, encoder_file), choose_device(settings.device)
    with one_thread(), repeatable():
        return train_round(
            model,
            batch.to(device),
            loss=make_patient_loss(settings.task),
            steps=stage.local_steps,
            learning_rate=stage.learning_rate,
            clip_norm=stage.clip_norm if stage.is_private else None,
            noise_multiplier=stage.noise_multiplier,
            divisor=divisor * stage.sample_rate,
            sample_rate=stage.sample_rate,
            update_norm_max=stage.update_norm_max,
            local_tail=stage.local_tail,
            proximal_mu=stage.strategy.proximal_mu if stage.strategy.name == "fedprox" else 0.0,
            draw_normals=draw_normals or NoiseStream(),
            register=register,
            chunk=patients_at_once(settings, device, n_films=batch.tokens.shape[1]),
            places=places,
        )


def train_sum(
    settings: ModelSettings,
    stage: GradientStage,
    batch: PatientBatch,
    weights: Weights,
    *,
    draw_normals: DrawNormals | None = None,
    register: AuditRegister | None = None,
    encoder_file: Path | None = None,
    places: int = 0,
) -> Floats:
    """One noised sum of clipped gradients [p] at ``weights`` [p]: what the coordinator adds over sites.

    Arguments as ``train_update``; without privacy the gradients are neither clipped nor noised.
    """
    model, device = _trainable_model(settings, weights, encoder_file), choose_device(settings.device)
    with one_thread(), repeatable():
        return one_sum(
            model,
            batch.to(device),
            loss=make_patient_loss(settings.task),
            clip_norm=stage.clip_norm if stage.is_private else None,
            noise_multiplier=stage.noise_multiplier,
            sample_rate=stage.sample_rate,
            draw_normals=draw_normals or NoiseStream(),
            register=register,
            chunk=patients_at_once(settings, device, n_films=batch.tokens.shape[1]),
            places=places,
        )


def _trainable_model(settings: ModelSettings, weights: Weights, encoder_file: Path | None) -> nn.Module:
    model = build_model(settings, generator_seed=settings.seed, encoder_file=encoder_file)
    load_flat(model, weights)
    return model.to(choose_device(settings.device))


def score_patients(
    settings: ModelSettings, batch: PatientBatch, weights: Weights, *, encoder_file: Path | None = None
) -> tuple[Floats, Floats]:
    """Outputs [n,o] and one label [n] per patient, of the earliest labelled exam that kept a film.

    Arguments and values as of ``score_exams``.
    """
    exams = first_exams(batch.select(_scorable(batch)))
    return score_exams(settings, exams, weights, encoder_file=encoder_file)


def score_exams(
    settings: ModelSettings,
    exams: PatientBatch,
    weights: Weights,
    *,
    places: int = 0,
    encoder_file: Path | None = None,
) -> tuple[Floats, Floats]:
    """Outputs and one label per exam.

    Exams are computed in batches of one size, the last filled with nobody: a score does not depend
    on what else is scored.

    Args:
        settings: name architecture and task.
        exams: labelled, each as a patient with one exam (``each_exam``).
        weights: trainable weights [p].
        places: exams for which there is work at least.
        encoder_file: as ``build_model`` takes it.

    Returns:
        Outputs [n,o]: the predicted target, or each class's probability, of a time to event each
        class's likelihood; labels [n]: the target in its
        own unit, or the class index.
    """
    task = settings.task
    device = choose_device(settings.device)
    model = build_model(settings, generator_seed=settings.seed, encoder_file=encoder_file)
    load_flat(model, weights)
    model = model.to(device).eval()
    outputs = [torch.zeros(0, count_outputs(settings), dtype=torch.float64)]
    size = patients_at_once(settings, device, n_films=exams.tokens.shape[1])
    threads = one_thread() if settings.encoder.training == "frozen" else nullcontext()
    with torch.no_grad(), threads, repeatable():
        for part in make_batches(exams, size, places=places):
            held = part.filled(size).with_films().to(device)
            scored = model(held.tokens, held.film_exam, held.fields, held.field_mask)  # [size,1,o]
            outputs.append(scored[: len(part), 0].double().cpu())
    output, label = torch.cat(outputs), exams.target[:, 0].double()
    if task.kind == "regression":
        output = task.target_mean + task.target_sd * output
        label = task.target_mean + task.target_sd * label
    else:
        output = output.exp() if task.kind == "survival" else torch.softmax(output, dim=1)
    return output.numpy(), label.numpy()


class Encode(Protocol):
    """Makes tokens of films where a model reads films, else gives the same patients."""

    def __call__(self, patients: PatientBatch, *, places: int = 0) -> PatientBatch:
        """The same patients; with ``places`` the work is that of so many."""
        ...


def film_encoder(
    settings: ModelSettings, weights: Weights, *, encoder_file: Path | None = None
) -> Encode:
    """What makes tokens [b,s,t,c] of films, of a model that encodes them itself; it is built once.

    A film is encoded by itself, in batches of one size; patients may come with some of the slots that
    the plan has for films.

    Args:
        settings: of a plan whose encoder learns.
        weights: trainable weights [p].
        encoder_file: as ``build_model`` takes it.
    """
    device = choose_device(settings.device)
    model = cast(
        EndToEnd, build_model(settings, generator_seed=settings.seed, encoder_file=encoder_file)
    )
    load_flat(model, weights)
    model = model.to(device).eval()

    def encode(patients: PatientBatch, *, places: int = 0) -> PatientBatch:
        n_films, tokens = patients.film_exam.shape[1], []
        size = patients_at_once(settings, device, n_films=n_films)
        with torch.no_grad(), repeatable():
            for part in make_batches(patients, size, places=places):
                held = part.filled(size).with_films().to(device)
                tokens.append(model.tokens_of(held.tokens, held.film_exam)[: len(part)].cpu())
        encoded = torch.cat(tokens) if tokens else patients.fields.new_zeros(0, n_films, 0, 0)
        return replace(patients, tokens=encoded, films=None)

    return encode


def first_exams(batch: PatientBatch) -> PatientBatch:
    """The same patients with their earliest labelled exam only, u = 1, and its films."""
    return _one_exam(batch, batch.exam_mask.int().argmax(dim=1) if len(batch) else torch.arange(0))


def each_exam(batch: PatientBatch) -> tuple[PatientBatch, NDArray[np.int64]]:
    """Every labelled exam as a patient of its own, u = 1, and whose each is.

    Returns:
        Exams in the order of patients, each patient's by time; the patients' places [n], rising.
    """
    patient, exam = batch.exam_mask.nonzero(as_tuple=True)
    return _one_exam(batch.select(patient), exam), patient.numpy()


def _one_exam(batch: PatientBatch, exam: torch.Tensor) -> PatientBatch:
    """The same patients with one exam [b] each, and its films."""
    rows = torch.arange(len(batch))
    of_exam = ("fields", "field_mask", "target", "exam_mask")
    exams = {name: getattr(batch, name)[rows, exam].unsqueeze(1) for name in of_exam}
    is_its = batch.film_exam == exam.unsqueeze(1)
    return replace(batch, film_exam=torch.where(is_its, 0, NO_EXAM), **exams)


def _scorable(batch: PatientBatch) -> torch.Tensor:
    """Who has a labelled exam left: one that lost its films to the cap on views is none. [b] -> [n]."""
    return batch.exam_mask.any(dim=1).nonzero()[:, 0]


def patients_at_once(settings: ModelSettings, device: torch.device, *, n_films: int = 1) -> int:
    """How many patients one chunk of a plan holds on a device: a constant of both, whoever they are.

    On a GPU it follows from all of its memory, never from what is free.

    Args:
        settings: of the plan.
        device: on which the site computes.
        n_films: places for films that each patient has.
    """
    is_on_gpu = device.type == "cuda"
    if settings.encoder.training == "frozen":
        is_attention = settings.fusion.name == "cross_attention"
        on_processor = _ATTENTION_ON_PROCESSOR if is_attention else _HEADS_AT_ONCE["cpu"]
        return _HEADS_AT_ONCE["cuda"] if is_on_gpu else on_processor
    if not is_on_gpu:
        return 1
    memory = int(torch.cuda.get_device_properties(device).total_memory)
    return patients_in(memory, n_films=n_films)


def patients_in(memory: int, *, n_films: int) -> int:
    """Patients of so many films at once on a GPU of so many bytes: a power of two, at least 1."""
    fit = int(memory * _SHARE_OF_GPU) // (_BYTES_A_FILM * max(n_films, 1))
    return min(1 << max(fit.bit_length() - 1, 0), _MOST_PATIENTS_ON_GPU)
