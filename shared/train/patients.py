"""Patients as padded tensors: the unit of privacy is one row.

Owns ``PatientBatch`` and the way to it from a cohort's flat arrays (one row per exam, one block of
tokens per film). Films themselves are read when their patient's turn comes: padded for thousands of
patients they would fill the memory. Legend: b patients · u exams of a patient · v views of an exam ·
t tokens · c channels · h w pixels · k fields. Imports torch, numpy and settings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shared.contract.settings import TaskSettings

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


@dataclass(frozen=True)
class PatientBatch:
    """Patients with all their exams, padded; padding is masked and finite.

    Shapes:
        tokens [b,u,v,t,c] float32, or films [b,u,v,h,w] for a model that encodes them itself, or with
        ``films`` [n_films,h,w] the numbers [b,u,v] int64 of films in it, from 1 on, 0 for none
        (``with_films`` reads them); view_mask [b,u,v]; fields [b,u,k] float32 (numbers standardised,
        categories as index, 0 where missing); field_mask [b,u,k], True = present; target [b,u]
        float32 (standardised, or a class index); exam_mask [b,u], True = a labelled exam; canary [b]
        int64, −1 for a patient, else the canary's place in the audit register (``canaries``).
    """

    tokens: Tensor
    view_mask: Tensor
    fields: Tensor
    field_mask: Tensor
    target: Tensor
    exam_mask: Tensor
    canary: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    films: Tensor | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.target.ndim == 2 and not len(self.canary):
            nobody = torch.full((len(self),), -1, dtype=torch.int64, device=self.target.device)
            object.__setattr__(self, "canary", nobody)

    def __len__(self) -> int:
        """Number of patients."""
        return self.target.shape[0]

    def named_tensors(self) -> dict[str, Tensor]:
        """The seven tensors by field name."""
        names = (entry.name for entry in dataclasses.fields(self) if entry.name != "films")
        return {name: getattr(self, name) for name in names}

    def tensors(self) -> tuple[Tensor, ...]:
        """The seven tensors in field order, as ``PatientBatch(*batch.tensors())`` takes them."""
        return tuple(self.named_tensors().values())

    def padded(self, n_exams: int) -> PatientBatch:
        """The same patients with room for ``n_exams`` exams each, no fewer than they have."""
        missing = n_exams - self.target.shape[1]
        if missing <= 0:
            return self
        return PatientBatch(
            **{
                name: tensor
                if name == "canary"
                else torch.cat(
                    [tensor, tensor.new_zeros((len(self), missing, *tensor.shape[2:]))], dim=1
                )
                for name, tensor in self.named_tensors().items()
            },
            films=self.films,
        )

    def with_films(self) -> PatientBatch:
        """The same patients with their films in memory, float32; padding is black."""
        if self.films is None:
            return self
        number = self.tokens.cpu()  # [b,u,v]
        held = number > 0
        films = torch.zeros(*number.shape, *self.films.shape[1:])
        # Indexing copies these films only, from a memory map too.
        films[held] = self.films[number[held] - 1].to(torch.float32)
        return dataclasses.replace(self, tokens=films.to(self.target.device), films=None)

    def select(self, indices: Sequence[int] | Tensor) -> PatientBatch:
        """The patients at ``indices``, in that order."""
        rows = torch.as_tensor(indices, dtype=torch.long, device=self.target.device)
        return PatientBatch(
            *(tensor.index_select(0, rows) for tensor in self.tensors()), films=self.films
        )

    def patient(self, index: int) -> PatientBatch:
        """One patient without the b axis: tensors [u,...], what ``patient_loss`` takes."""
        return PatientBatch(*(tensor[index] for tensor in self.tensors()), films=self.films)

    def to(self, device: torch.device | str) -> PatientBatch:
        """The same patients on a device; ``films`` stay where they are."""
        return PatientBatch(*(tensor.to(device) for tensor in self.tensors()), films=self.films)


def standardise_target(target: Array, task: TaskSettings) -> Array:
    """Targets as the loss takes them: (y − mean)/sd with public constants, or the class index.

    Unlabelled, NaN or a class below 0, comes out as NaN.
    """
    values = np.asarray(target, dtype=np.float64)
    if task.kind == "regression":
        return (values - task.target_mean) / task.target_sd
    return np.where(values >= 0, values, np.nan)


def build_patients(
    *,
    fields: Array,
    field_mask: Array,
    target: Array,
    patient_index: Array,
    exam_films: Sequence[Sequence[int]],
    film_order: Sequence[bytes] | Sequence[str] | Sequence[int],
    tokens: Array | Tensor | None = None,
    films: Tensor | None = None,
    max_views: int,
) -> PatientBatch:
    """Padded patients from a cohort's flat arrays.

    Of each patient at most ``max_views`` films enter, the first in ``film_order``; an exam that had
    films and lost all of them to that cap is left out, so that no exam is judged without its image.

    Args:
        fields: [n,k], one row per exam, see ``PatientBatch.fields``.
        field_mask: [n,k], True = present.
        target: [n], as from ``standardise_target``; NaN = unlabelled.
        patient_index: [n], 0..b−1; patients appear in that order.
        exam_films: for each exam the rows of ``tokens`` or ``films`` that are its views.
        film_order: for each film its place among the patient's films, e.g. a keyed hash.
        tokens: [n_films,t,c]; [0,0,0] when the cohort has no views.
        films: instead of tokens, [n_films,h,w] in [0,1], kept as it is stored.
        max_views: films per patient, ≥ 1.
    """
    kept = _cap_views(patient_index, exam_films, film_order, max_views)
    counts = [(bool(before), films) for before, films in zip(exam_films, kept, strict=True)]
    usable = [index for index, (had, films) in enumerate(counts) if films or not had]
    n_patients = int(patient_index.max()) + 1 if len(patient_index) else 0
    slots: list[tuple[int, int, int]] = []  # exam, patient, place among the patient's exams
    filled = [0] * n_patients
    for exam in usable:
        patient = int(patient_index[exam])
        slots.append((exam, patient, filled[patient]))
        filled[patient] += 1
    b, u = n_patients, max(filled, default=0)
    v = max((len(kept[exam]) for exam in usable), default=0)
    blocks = (
        np.asarray(tokens, dtype=np.float32)  # [n_films,t,c], a memory map stays one
        if films is None
        else np.arange(1, len(films) + 1)  # [n_films]
    )
    k = fields.shape[1]
    batch = PatientBatch(
        tokens=torch.zeros(b, u, v, *blocks.shape[1:], dtype=torch.from_numpy(blocks[:0].copy()).dtype),
        view_mask=torch.zeros(b, u, v, dtype=torch.bool),
        fields=torch.zeros(b, u, k),
        field_mask=torch.zeros(b, u, k, dtype=torch.bool),
        target=torch.zeros(b, u),
        exam_mask=torch.zeros(b, u, dtype=torch.bool),
        films=films,
    )
    for exam, patient, place in slots:
        views = list(kept[exam])
        if views:
            # Indexing copies these blocks only, and makes them writable.
            batch.tokens[patient, place, : len(views)] = torch.from_numpy(blocks[views])
            batch.view_mask[patient, place, : len(views)] = True
        present = torch.as_tensor(np.asarray(field_mask[exam], dtype=bool))
        row = torch.as_tensor(np.asarray(fields[exam], dtype=np.float32))
        batch.fields[patient, place] = torch.where(present, row, torch.zeros_like(row))
        batch.field_mask[patient, place] = present
        label = float(target[exam])
        if np.isfinite(label):
            batch.target[patient, place] = label
            batch.exam_mask[patient, place] = True
    return batch


def _cap_views(
    patient_index: Array,
    exam_films: Sequence[Sequence[int]],
    film_order: Sequence[bytes] | Sequence[str] | Sequence[int],
    max_views: int,
) -> list[list[int]]:
    """Each exam's films after keeping at most ``max_views`` per patient, in ``film_order``."""
    by_patient: dict[int, list[int]] = {}
    for patient, films in zip(patient_index.tolist(), exam_films, strict=True):
        by_patient.setdefault(int(patient), []).extend(films)
    chosen: set[int] = set()
    for films in by_patient.values():
        chosen.update(sorted(films, key=lambda film: film_order[film])[:max_views])
    return [[film for film in films if film in chosen] for films in exam_films]


def make_batches(batch: PatientBatch, size: int) -> Iterator[PatientBatch]:
    """The patients in consecutive batches of at most ``size``."""
    for start in range(0, len(batch), size):
        yield batch.select(range(start, min(start + size, len(batch))))
