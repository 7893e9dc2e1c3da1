"""Patients as a measure of bone reads them, and what a release says of them so.

Films with their bone hidden, and with as much else hidden, are further batches of the same patients; a
map is what hiding one place of one film changes of the score: a token, a square of the film, or a cell
of the columns that sources of features make of it. A patient's values are a function of that
patient's films and masks and the release alone. Imports scores and the agreement of maps.
Legend: b patients · s film slots · t places of a film · c channels · h w pixels · q replacements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
from torch import Tensor

from shared.contract.protocol import Vector
from shared.measures.exams import ScoredExams
from shared.measures.saliency import agreement
from shared.measures.scored import Bools, Indices, Rule
from shared.stages.scores import Scorer
from shared.sums.contract import Floats
from shared.train.patients import NO_EXAM, PatientBatch, make_batches

# Share of bone in the places of a film without a mask.
NO_MASK = -1.0
# Patients whose films with a place hidden are in memory together.
_AT_ONCE = 256


@dataclass(frozen=True)
class _Reader:
    """A release that reads patients in two steps, with as much work for few as for many."""

    encode: Callable[[PatientBatch], PatientBatch]
    score: Callable[[PatientBatch], ScoredExams]


@dataclass(frozen=True)
class ExplainedPatients:
    """A batch, and the same patients with other films in it.

    Attributes:
        own: the patients.
        hidden: with bone hidden, and with as much else hidden; none where maps are read.
        bone: share of each place that is bone [b,s,t], rows first; ``NO_MASK`` without a mask.
    """

    own: PatientBatch
    hidden: tuple[PatientBatch, ...]
    bone: Tensor

    def labelled(self) -> ExplainedPatients:
        """Those who have a labelled exam."""
        rows = self.own.exam_mask.any(dim=1).nonzero()[:, 0]
        return ExplainedPatients(
            self.own.select(rows),
            tuple(each.select(rows) for each in self.hidden),
            self.bone.index_select(0, rows),
        )

    def is_looked_at(self) -> Tensor:
        """Which slots hold a film of a labelled exam [b,s]."""
        film_exam = self.own.film_exam
        of_exam = self.own.exam_mask.gather(1, film_exam.clamp(min=0))
        return (film_exam != NO_EXAM) & of_exam

    def is_assessed(self) -> Tensor:
        """Whether a patient has films of labelled exams, and all of them masks [b]."""
        looked_at, has_mask = self.is_looked_at(), (self.bone >= 0).all(dim=-1)
        return looked_at.any(dim=1) & (has_mask | ~looked_at).all(dim=1)


def score_hidden(
    scorer: Scorer, vector: Vector, patients: ExplainedPatients, *, places: int = 0
) -> ScoredExams:
    """Exams with outputs as they are, and replaced [e,2,o]: bone hidden, and as much else hidden."""
    held = patients.labelled()
    scored = scorer.score(vector, held.own, places=places)
    outputs = [scorer.score(vector, each, places=places).exams.outputs for each in held.hidden]
    exams = replace(
        scored.exams,
        replaced=np.stack(outputs, axis=1),
        is_assessed=held.is_assessed().numpy()[_patients_of(scored)],
    )
    return replace(scored, exams=exams)


def score_maps(
    scorer: Scorer,
    vector: Vector,
    patients: ExplainedPatients,
    rule: Rule,
    *,
    places: int = 0,
    cells: Sequence[int] = (),
) -> ScoredExams:
    """Exams with outputs as they are, and of each its patient's mean agreement of maps with bone.

    Args:
        scorer: of the release.
        vector: its weights.
        patients: with places of a grid, of which each is hidden.
        rule: reads a score.
        places: as of ``Scorer``.
        cells: the place of each column of films [f], of a model that reads columns; else none.
    """
    held = patients.labelled()
    scored = scorer.score(vector, held.own, places=places)
    size = min(places, _AT_ONCE) or _AT_ONCE
    reader = _reader_of(scorer, vector, min(places, size))
    heat = _maps_of(held, reader, rule, size=size, places=places, cells=cells)  # [b,s,t]
    looked_at, bone = held.is_looked_at().numpy(), held.bone.double().numpy()
    is_assessed = held.is_assessed().numpy()
    found = np.zeros((len(held.own), 3))
    for patient in np.flatnonzero(is_assessed):
        films = np.flatnonzero(looked_at[patient])
        each = [agreement(heat[patient, film], bone[patient, film]) for film in films]
        found[patient] = np.mean(each, axis=0)
    of_exam = _patients_of(scored)
    exams = replace(scored.exams, is_assessed=is_assessed[of_exam], maps=found[of_exam])
    return replace(scored, exams=exams)


def _patients_of(scored: ScoredExams) -> Indices:
    """The place of each exam's patient [e]."""
    return np.repeat(np.arange(len(scored)), np.diff(scored.starts))


def _reader_of(scorer: Scorer, vector: Vector, places: int) -> _Reader:
    encode, reads, state = scorer.behind_films(vector)
    return _Reader(partial(encode, places=places), partial(reads.score, state, places=places))


def _maps_of(
    patients: ExplainedPatients,
    reader: _Reader,
    rule: Rule,
    *,
    size: int,
    places: int,
    cells: Sequence[int],
) -> Floats:
    """What hiding each place of each slot's film changes of the score, [b,s,t].

    A film is of one exam, so only that exam's score changes. Some patients are read at a time.
    """
    n_slots, n_places = patients.bone.shape[1:]
    parts = [
        _maps_of_some(part, reader, rule, (n_slots, n_places), cells)
        for part in make_batches(patients.own, size, places=places)
    ]
    return np.concatenate([np.zeros((0, n_slots, n_places)), *parts])


def _maps_of_some(
    own: PatientBatch, reader: _Reader, rule: Rule, shape: tuple[int, int], cells: Sequence[int]
) -> Floats:
    (n_slots, n_places), read = shape, reader.encode(own)
    heat = np.zeros((len(own), n_slots, n_places))
    before = reader.score(read)
    patient = _patients_of(before)
    base = rule.score(before.exams.outputs)
    for slot in range(n_slots):
        alone = None if cells else _one_slot(own, slot)
        for place in range(n_places):
            if alone is None:
                hidden = hide_cell(read, slot, place, cells)
            else:
                hidden = _with_slot(read, slot, reader.encode(hide_place(alone, 0, place, n_places)))
            after = rule.score(reader.score(hidden).exams.outputs)
            with np.errstate(invalid="ignore", over="ignore"):
                np.add.at(heat[:, slot, place], patient, np.abs(after - base))
    return heat


def _one_slot(patients: PatientBatch, slot: int) -> PatientBatch:
    """The same patients with one slot for a film, s = 1."""
    of_slot = ("tokens", "film_exam", "film_maker", "film_columns")
    return replace(patients, **{name: getattr(patients, name)[:, slot : slot + 1] for name in of_slot})


def _with_slot(patients: PatientBatch, slot: int, changed: PatientBatch) -> PatientBatch:
    """The same patients with another slot's tokens [b,1,t,c] in the place of their own."""
    tokens = patients.tokens.clone()
    tokens[:, slot] = changed.tokens[:, 0]
    return replace(patients, tokens=tokens)


def hide_place(patients: PatientBatch, slot: int, place: int, n_places: int) -> PatientBatch:
    """The same patients with one place of one slot's film replaced by that film's mean.

    Args:
        patients: with tokens [b,s,t,c], or with films [b,s,h,w] or a store of them.
        slot: whose film.
        place: of a square grid, rows first.
        n_places: of that grid; tokens have as many.
    """
    held = patients.with_films()
    blocks = held.tokens.clone()
    film = blocks[:, slot]  # [b,t,c] or [b,h,w]
    if patients.films is None:
        film[:, place] = film.mean(dim=1)
    else:
        grid = round(n_places**0.5)
        (top, bottom), (left, right) = (
            list(pairwise(np.linspace(0, size, grid + 1).round().astype(int)))[at]
            for size, at in zip(film.shape[1:], divmod(place, grid), strict=True)
        )
        film[:, top:bottom, left:right] = film.mean(dim=(1, 2))[:, None, None]
    return replace(held, tokens=blocks)


def hide_cell(patients: PatientBatch, slot: int, cell: int, cells: Sequence[int]) -> PatientBatch:
    """The same patients with one cell of one slot's film as public films usually are there.

    Columns of a cell are what it has beyond its usual self, so that this is 0; of a model that adds up
    columns the change is the sum of weight · column over the cell.

    Args:
        patients: with columns of films [b,s,f].
        slot: whose film.
        cell: which.
        cells: the cell of each column [f].
    """
    columns = patients.film_columns.clone()
    columns[:, slot, [at for at, each in enumerate(cells) if each == cell]] = 0.0
    return replace(patients, film_columns=columns)


def shares_of_places(masks: Bools, grid: int) -> Floats:
    """Share of each place of a film that is bone, by masks [n,h,w] and their grid -> [n, grid²].

    ``NO_MASK`` for a film whose mask marks nothing.
    """
    rows, columns = (
        list(pairwise(np.linspace(0, size, grid + 1).round().astype(int))) for size in masks.shape[1:]
    )
    shares = np.stack(
        [
            masks[:, top:bottom, left:right].mean(axis=(1, 2))
            for top, bottom in rows
            for left, right in columns
        ],
        axis=1,
    )
    has_mask = shares.max(axis=1, keepdims=True) > 0
    return np.where(has_mask, shares, NO_MASK)
