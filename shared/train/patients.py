"""Patients as tensors of one fixed shape: the unit of privacy is one row.

Owns ``PatientBatch`` and the way to it from a cohort's flat arrays (one row per exam, one block of
tokens per film). Every patient has room for as many films and exams as the plan allows, whatever they
have: the shape, and with it the rounding of all that is computed, is a constant of the plan. Films
themselves are read when their patient's turn comes: for thousands of patients they would fill the
memory. Legend: b patients · s film slots of a patient · u exams of a patient · t tokens · c channels ·
h w pixels · k fields. Imports torch, numpy and settings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shared.contract.model_settings import TaskSettings

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]
Order = Sequence[bytes] | Sequence[str] | Sequence[int]
NO_EXAM = -1  # of a slot without a film


@dataclass(frozen=True)
class PatientBatch:
    """Patients with all their exams, padded to the plan's caps; padding is masked and finite.

    Shapes:
        tokens [b,s,t,c] float32, or films [b,s,h,w] for a model that encodes them itself, or with
        ``films`` [n_films,h,w] the numbers [b,s] int64 of films in it, from 1 on, 0 for none
        (``with_films`` reads them); film_exam [b,s] int64, the exam that a slot's film belongs to, −1
        for an empty slot; fields [b,u,k] float32 (numbers standardised, categories as index, 0 where
        missing); field_mask [b,u,k], True = present; target [b,u] float32 (standardised, or a class
        index); exam_mask [b,u], True = a labelled exam; canary [b] int64, −1 for a patient, else the
        canary's place in the audit register (``canaries``); film_maker [b,s] int64, the number in
        ``makers`` of who made the scanner of a slot's film, from 1 on, 0 where no header says it;
        film_columns [b,s,f] float32, what sources of films (``shared.features.sources``) say of a
        slot's film, f = 0 where a plan has none.
    """

    tokens: Tensor
    film_exam: Tensor
    fields: Tensor
    field_mask: Tensor
    target: Tensor
    exam_mask: Tensor
    canary: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    film_maker: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    film_columns: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0))
    films: Tensor | None = dataclasses.field(default=None, kw_only=True)
    makers: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if self.film_maker.shape != self.film_exam.shape and not self.film_maker.numel():
            object.__setattr__(self, "film_maker", torch.zeros_like(self.film_exam))
        if self.film_columns.shape[:-1] != self.film_exam.shape and not self.film_columns.numel():
            nothing = torch.zeros(*self.film_exam.shape, 0, device=self.film_exam.device)
            object.__setattr__(self, "film_columns", nothing)
        if self.target.ndim == 2 and not len(self.canary):
            nobody = torch.full((len(self),), -1, dtype=torch.int64, device=self.target.device)
            object.__setattr__(self, "canary", nobody)

    def __len__(self) -> int:
        """Number of patients."""
        return self.target.shape[0]

    def named_tensors(self) -> dict[str, Tensor]:
        """The nine tensors by field name."""
        names = (entry.name for entry in dataclasses.fields(self) if not entry.kw_only)
        return {name: getattr(self, name) for name in names}

    def tensors(self) -> tuple[Tensor, ...]:
        """The nine tensors in field order, as ``PatientBatch(*batch.tensors())`` takes them."""
        return tuple(self.named_tensors().values())

    def n_films(self) -> Tensor:
        """Films of each exam, [b,u] int64."""
        exams = torch.arange(self.target.shape[1], device=self.film_exam.device)
        return (self.film_exam.unsqueeze(1) == exams[:, None]).sum(dim=-1)

    def filled(self, size: int) -> PatientBatch:
        """The same patients and after them, up to ``size``, rows without film, value and label."""
        missing = size - len(self)
        if missing <= 0:
            return self
        nobody = {
            name: tensor.new_full(
                (missing, *tensor.shape[1:]), NO_EXAM if name in ("film_exam", "canary") else 0
            )
            for name, tensor in self.named_tensors().items()
        }
        return join_patients(self, PatientBatch(*nobody.values()))

    def with_films(self) -> PatientBatch:
        """The same patients with their films in memory, float32; padding is black."""
        if self.films is None:
            return self
        number = self.tokens.cpu()  # [b,s]
        held = number > 0
        films = torch.zeros(*number.shape, *self.films.shape[1:])
        # Indexing copies these films only, from a memory map too.
        films[held] = self.films[number[held] - 1].to(torch.float32)
        return dataclasses.replace(self, tokens=films.to(self.target.device), films=None)

    def select(self, indices: Sequence[int] | Tensor) -> PatientBatch:
        """The patients at ``indices``, in that order."""
        rows = torch.as_tensor(indices, dtype=torch.long, device=self.target.device)
        return self._with(tensor.index_select(0, rows) for tensor in self.tensors())

    def patient(self, index: int) -> PatientBatch:
        """One patient without the b axis: tensors [u,...], what ``patient_loss`` takes."""
        return self._with(tensor[index] for tensor in self.tensors())

    def to(self, device: torch.device | str) -> PatientBatch:
        """The same patients on a device; ``films`` stay where they are."""
        return self._with(tensor.to(device) for tensor in self.tensors())

    def _with(self, tensors: Iterable[Tensor]) -> PatientBatch:
        """Other tensors beside the same store of films and names of makers."""
        return PatientBatch(*tensors, films=self.films, makers=self.makers)


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
    film_order: Order,
    exam_order: Order,
    tokens: Array | Tensor | None = None,
    films: Tensor | None = None,
    film_makers: Sequence[str] = (),
    film_columns: Array | None = None,
    max_views: int,
    max_exams: int,
) -> PatientBatch:
    """Patients of one fixed shape from a cohort's flat arrays.

    Of each patient at most ``max_exams`` exams enter, labelled ones first, in ``exam_order``, and of
    these at most ``max_views`` films, in ``film_order``. An exam that had films and lost all of them to
    that cap is left out, so that no exam is judged without its image.

    Args:
        fields: [n,k], one row per exam, see ``PatientBatch.fields``.
        field_mask: [n,k], True = present.
        target: [n], as from ``standardise_target``; NaN = unlabelled.
        patient_index: [n], 0..b−1; patients appear in that order, their exams as they come.
        exam_films: for each exam the rows of ``tokens`` or ``films`` that are its views.
        film_order: for each film its place among the patient's films, e.g. a keyed hash.
        exam_order: for each exam its place among the patient's exams, e.g. a keyed hash.
        tokens: [n_films,t,c]; [0,0,0] when the plan has no encoder, which takes no slots.
        films: instead of tokens, [n_films,h,w] in [0,1], kept as it is stored.
        film_makers: for each film who made its scanner, as its header says; empty: not known.
        film_columns: [n_films,f], what sources of films say of each; None: a plan has none.
        max_views: films per patient, ≥ 1.
        max_exams: exams per patient, ≥ 1.
    """
    is_labelled = np.isfinite(np.asarray(target, dtype=np.float64))
    places = [(not labelled, place) for labelled, place in zip(is_labelled, exam_order, strict=True)]
    of_patient: list[list[int]] = [[] for _ in range(int(patient_index.max(initial=-1)) + 1)]
    for exam, patient in enumerate(patient_index.tolist()):
        of_patient[int(patient)].append(exam)
    blocks = (
        np.asarray(tokens, dtype=np.float32)  # [n_films,t,c], a memory map stays one
        if films is None
        else np.arange(1, len(films) + 1)  # [n_films]
    )
    makers = tuple(sorted(set(film_makers) - {""}))
    number = {maker: place for place, maker in enumerate(makers, 1)}
    made_by = [number.get(maker, 0) for maker in film_makers]
    b, u, k = len(of_patient), max_exams, fields.shape[1]
    beside = np.zeros((len(film_order), 0)) if film_columns is None else film_columns
    s = max_views if films is not None or blocks.shape[-1] or beside.shape[-1] else 0
    batch = PatientBatch(
        tokens=torch.zeros(b, s, *blocks.shape[1:], dtype=torch.from_numpy(blocks[:0].copy()).dtype),
        film_exam=torch.full((b, s), NO_EXAM),
        fields=torch.zeros(b, u, k),
        field_mask=torch.zeros(b, u, k, dtype=torch.bool),
        target=torch.zeros(b, u),
        exam_mask=torch.zeros(b, u, dtype=torch.bool),
        film_columns=torch.zeros(b, s, beside.shape[-1]),
        films=films,
        makers=makers,
    )
    for patient, exams in enumerate(of_patient):
        chosen = sorted(sorted(exams, key=lambda exam: places[exam])[:max_exams])
        kept = _cap_views({exam: exam_films[exam] for exam in chosen}, film_order, max_views)
        usable = [exam for exam in chosen if kept[exam] or not exam_films[exam]]
        slots = [(film, place) for place, exam in enumerate(usable) for film in kept[exam]]
        if slots:
            views = [film for film, _ in slots]
            # Indexing copies these blocks only, and makes them writable.
            batch.tokens[patient, : len(slots)] = torch.from_numpy(blocks[views])
            batch.film_exam[patient, : len(slots)] = torch.tensor([place for _, place in slots])
            said = np.asarray(beside[views], dtype=np.float32)
            batch.film_columns[patient, : len(slots)] = torch.from_numpy(said)
            if made_by:
                batch.film_maker[patient, : len(slots)] = torch.tensor(
                    [made_by[film] for film in views]
                )
        for place, exam in enumerate(usable):
            present = torch.as_tensor(np.asarray(field_mask[exam], dtype=bool))
            row = torch.as_tensor(np.asarray(fields[exam], dtype=np.float32))
            batch.fields[patient, place] = torch.where(present, row, torch.zeros_like(row))
            batch.field_mask[patient, place] = present
            if is_labelled[exam]:
                batch.target[patient, place] = float(target[exam])
                batch.exam_mask[patient, place] = True
    return batch


def _cap_views(
    exam_films: dict[int, Sequence[int]], film_order: Order, max_views: int
) -> dict[int, list[int]]:
    """Films of one patient's exams after keeping at most ``max_views``, in ``film_order``."""
    films = [film for each in exam_films.values() for film in each]
    chosen = set(sorted(films, key=lambda film: film_order[film])[:max_views])
    return {exam: [film for film in each if film in chosen] for exam, each in exam_films.items()}


def join_patients(*batches: PatientBatch) -> PatientBatch:
    """Patients of several batches of one shape, and of the first one's films and makers, in one."""
    columns = zip(*(batch.tensors() for batch in batches), strict=True)
    first = batches[0]
    return PatientBatch(
        *(torch.cat(column) for column in columns), films=first.films, makers=first.makers
    )


def make_batches(batch: PatientBatch, size: int, *, places: int = 0) -> Iterator[PatientBatch]:
    """The patients in consecutive batches of at most ``size``; then empty ones, up to ``places``."""
    for start in range(0, max(len(batch), places), size):
        rows = slice(start, start + size)
        parts = {name: tensor[rows] for name, tensor in batch.named_tensors().items()}
        yield PatientBatch(**parts, films=batch.films, makers=batch.makers)
