"""Patients whose films are explained: bone hidden, places hidden, and nobody touched by another."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from practice_films import PIXELS, film_patients
from practice_learners import SITES, learner_plan, patients_of, played
from practice_patients import GRID, practice_patients, practice_settings
from practice_plan import plan_of

from shared.contract.decision import decision_of
from shared.contract.plan import Plan
from shared.measures.exams import ScoredExams, exams_of
from shared.measures.saliency import agreement
from shared.measures.scored import Scored
from shared.model.end_to_end import EndToEnd
from shared.stages.explained import (
    NO_MASK,
    ExplainedPatients,
    hide_place,
    score_hidden,
    score_maps,
    shares_of_places,
)
from shared.stages.scores import Scorer, scorer_of
from shared.train.patients import PatientBatch
from shared.train.update import Encode

N_PLACES = GRID * GRID
RULE = decision_of(practice_settings("linear"))


def explained(n: int = 9, *, seed: int = 0, unlabelled: int = 1) -> ExplainedPatients:
    """Patients with several exams and films; the first have no label; some films have no mask."""
    own = practice_patients(n, seed=seed)
    own.exam_mask[:unlabelled] = False
    draw = torch.Generator().manual_seed(seed + 1)
    hidden = tuple(
        replace(own, tokens=own.tokens + torch.randn(own.tokens.shape, generator=draw))
        for _ in range(2)
    )
    bone = torch.rand(*own.film_exam.shape, N_PLACES, generator=draw)
    has_mask = torch.rand(own.film_exam.shape, generator=draw) < 0.8
    return ExplainedPatients(own, hidden, torch.where(has_mask[..., None], bone, NO_MASK))


def trained(fusion: str) -> tuple[Scorer, np.ndarray]:
    plan = plan_of(practice_settings(fusion), SITES)
    scorer = scorer_of(plan, plan.trained, None)
    start = scorer.start().vector
    return scorer, start + np.random.default_rng(0).normal(0, 0.3, len(start)).astype(start.dtype)


@pytest.mark.parametrize("fusion", ["linear", "cross_attention"])
def test_hidden_films_are_scored_as_films_are(fusion: str) -> None:
    scorer, vector = trained(fusion)
    patients = explained()
    found = score_hidden(scorer, vector, patients)
    own = scorer.score(vector, patients.own)
    assert np.array_equal(found.exams.outputs, own.exams.outputs)
    assert np.array_equal(found.starts, own.starts)
    for place, batch in enumerate(patients.hidden):
        expected = scorer.score(vector, batch).exams.outputs
        assert np.array_equal(found.exams.replaced[:, place], expected)


def test_who_has_a_labelled_film_without_a_mask_is_not_assessed() -> None:
    patients = explained(40)
    expected = []
    for row in range(40):
        exams = patients.own.exam_mask[row]
        slots = [
            slot
            for slot, exam in enumerate(patients.own.film_exam[row].tolist())
            if exam >= 0 and exams[exam]
        ]
        masks = [bool(patients.bone[row, slot, 0] >= 0) for slot in slots]
        expected.append(bool(masks) and all(masks))
    assert patients.is_assessed().tolist() == expected
    assert 5 < sum(expected) < 35


@dataclass
class Watching:
    """Scores an exam by the places of its films, each place with its own weight."""

    weights: torch.Tensor

    def score(self, vector: np.ndarray, patients: PatientBatch, *, places: int = 0) -> ScoredExams:
        patient, exam = patients.exam_mask.nonzero(as_tuple=True)
        of_exam = patients.film_exam[patient] == exam[:, None]  # [e,s]
        seen = (patients.tokens.mean(dim=-1) * self.weights).sum(dim=-1)[patient]  # [e,s]
        outputs = (seen * of_exam).sum(dim=1) / of_exam.sum(dim=1).clamp(min=1)
        label = patients.target[patient, exam].double().numpy()
        nothing = np.zeros((len(label), 0))
        scored = Scored(outputs.double().numpy()[:, None], label, nothing)
        return exams_of(scored, patient.numpy())

    def behind_films(self, vector: np.ndarray) -> tuple[Encode, Scorer, np.ndarray]:
        return lambda patients, *, places=0: patients, self, vector


def test_a_map_is_what_hiding_a_place_changes_and_its_agreement_is_the_mean_over_films() -> None:
    weights = torch.linspace(-1.0, 1.0, N_PLACES)
    patients = explained(30)
    found = score_maps(Watching(weights), np.zeros(0), patients, RULE)
    held, at = patients.labelled(), 0
    for row in range(len(held.own)):
        n_exams = int(held.own.exam_mask[row].sum())
        looked_at, films = held.is_looked_at()[row], []
        for slot in looked_at.nonzero()[:, 0].tolist():
            tokens = held.own.tokens[row, slot].mean(dim=-1)
            change = (weights * (tokens - tokens.mean())).abs().double().numpy()
            films.append(agreement(change, held.bone[row, slot].double().numpy()))
        is_assessed = bool(held.is_assessed()[row])
        for exam in range(at, at + n_exams):
            assert found.exams.is_assessed[exam] == is_assessed
            expected = np.mean(films, axis=0) if is_assessed else np.zeros(3)
            np.testing.assert_allclose(found.exams.maps[exam], expected, atol=1e-4)
        at += n_exams
    assert found.exams.is_assessed.sum() > 5
    assert np.abs(found.exams.maps).max() > 0.1


def test_a_model_that_looks_at_bone_agrees_with_it_and_one_that_looks_beside_it_does_not() -> None:
    weights = torch.zeros(N_PLACES)
    weights[0] = 1.0
    patients = explained(30)
    on, beside = (torch.zeros_like(patients.bone) for _ in range(2))
    on[..., 0] = 1.0
    beside[..., 1] = 1.0
    means = [
        score_maps(Watching(weights), np.zeros(0), replace(patients, bone=bone), RULE)
        for bone in (on, beside)
    ]
    good, bad = (each.exams.maps[each.exams.is_assessed] for each in means)
    assert (good > 0.5).all()
    assert (bad < 0.0).all()


@pytest.mark.parametrize("reads", ["hidden", "maps"])
@pytest.mark.parametrize("fusion", ["linear", "cross_attention"])
def test_a_patients_values_do_not_depend_on_who_else_is_there(reads: str, fusion: str) -> None:
    scorer, vector = trained(fusion)
    patients = explained(7, unlabelled=0)

    def scored(each: ExplainedPatients) -> ScoredExams:
        if reads == "hidden":
            return score_hidden(scorer, vector, each)
        return score_maps(scorer, vector, each, RULE)

    together = scored(patients)
    for row in range(7):
        alone = scored(
            ExplainedPatients(
                patients.own.select([row]),
                tuple(each.select([row]) for each in patients.hidden),
                patients.bone[[row]],
            )
        )
        own = together.select([row]).exams
        for name in ("outputs", "replaced", "is_assessed", "maps"):
            assert np.array_equal(getattr(alone.exams, name), getattr(own, name)), name


def test_of_a_model_that_encodes_films_the_changed_film_alone_is_encoded_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = practice_settings("linear")
    learns = {"name": "resnet_gn", "training": "full", "token_channels": 128, "token_grid": GRID}
    encoder = settings.encoder.model_copy(update=learns | {"sha256": "", "weights": ""})
    plan = plan_of(settings.model_copy(update={"encoder": encoder}), SITES)
    scorer = scorer_of(plan, plan.trained, None)
    start = scorer.start().vector
    vector = start + np.random.default_rng(0).normal(0, 0.1, len(start)).astype(start.dtype)
    own = film_patients("full", 5, views=1)
    assert own.film_exam.shape == (5, 2)
    assert own.tokens.ndim == 4
    films = own.tokens.reshape(-1, PIXELS, PIXELS)
    numbers = torch.arange(1, len(films) + 1).reshape(5, 2)
    own = replace(own, tokens=torch.where(own.film_exam >= 0, numbers, 0), films=films)
    own.exam_mask[:] = True
    bone = torch.rand(5, 2, 4, generator=torch.Generator().manual_seed(1))
    patients = ExplainedPatients(own, (), bone)

    encoded: list[int] = []
    encode = EndToEnd.tokens_of

    def counted(model: EndToEnd, films: torch.Tensor, film_exam: torch.Tensor) -> torch.Tensor:
        encoded.append(film_exam.numel())
        return encode(model, films, film_exam)

    with monkeypatch.context() as patch:
        patch.setattr(EndToEnd, "tokens_of", counted)
        found = score_maps(scorer, vector, patients, RULE)
        n_encoded = sum(encoded)
    # all films of the exams as they are, each slot once more, and once for each of its four places
    n_exams = int(own.exam_mask.sum())
    assert n_encoded == 2 * n_exams + 2 * 5 + 2 * 5 * 4

    def scores(patients: PatientBatch) -> np.ndarray:
        return RULE.score(scorer.score(vector, patients).exams.outputs)

    before, patient = scores(own), own.exam_mask.nonzero()[:, 0].numpy()
    heat = np.zeros((5, 2, 4))
    for slot in range(2):
        for place in range(4):
            change = np.abs(scores(hide_place(own, slot, place, 4)) - before)
            np.add.at(heat[:, slot, place], patient, change)
    assert heat.max() > 1e-4
    looked_at = patients.is_looked_at().numpy()
    for row in np.flatnonzero(patients.is_assessed()):
        each = [
            agreement(heat[row, slot], bone[row, slot].double().numpy())
            for slot in np.flatnonzero(looked_at[row])
        ]
        exam = int(found.starts[row])
        np.testing.assert_allclose(found.exams.maps[exam], np.mean(each, axis=0), atol=1e-4)
    assert found.exams.is_assessed.any()


def test_learners_of_tables_are_explained_by_their_patients_too() -> None:
    plan = learner_plan("ridge", SITES)
    state, [own, _] = played(plan)[-1], patients_of(plan)
    scorer = scorer_of(plan, plan.trained, None)
    bone = torch.zeros(*own.film_exam.shape, N_PLACES)
    bone[..., 0] = 1.0
    found = score_maps(scorer, state.vector, ExplainedPatients(own, (), bone), RULE)
    assert len(found) == int(own.exam_mask.any(dim=1).sum())
    assert found.exams.maps[found.exams.is_assessed].any()


def cell_patients(plan: Plan, n: int = 24) -> ExplainedPatients:
    """Patients with columns of four cells of each film, bone in the first cell."""
    own = practice_patients(n, seed=3)
    draw = torch.Generator().manual_seed(8)
    columns = torch.randn(*own.film_exam.shape, len(plan.settings.features.cells), generator=draw)
    own = replace(own, film_columns=columns)
    hidden = tuple(replace(own, film_columns=columns + shift) for shift in (0.5, -0.2))
    bone = torch.zeros(*own.film_exam.shape, 4)
    bone[..., 0] = 1.0
    return ExplainedPatients(own, hidden, bone)


def cell_scorer() -> tuple[Plan, Scorer, np.ndarray]:
    """A ridge over two components of 2 × 2 cells, with weights of its own."""
    source = {
        "kind": "encoder",
        "encoder": "standin_resnet",
        "name": "standin_resnet",
        "weights": "standin_resnet.safetensors",
        "sha256": "a" * 64,
        "token_channels": 64,
        "token_grid": 2,
        "components": 2,
        "spreads": [1.2, 0.9],
    }
    plan = learner_plan("ridge", SITES, features={"sources": [source]})
    return plan, scorer_of(plan, plan.trained, None), played(plan)[-1].vector


def test_a_map_of_a_linear_model_of_cells_is_weight_times_column_of_each_cell() -> None:
    plan, scorer, vector = cell_scorer()
    patients = cell_patients(plan).labelled()
    cells = plan.settings.features.cells
    assert cells == (0, 0, 1, 1, 2, 2, 3, 3)
    found = score_maps(scorer, vector, patients, RULE, cells=cells)

    def predicted(batch: PatientBatch) -> np.ndarray:
        return scorer.score(vector, batch).exams.outputs[:, 0]

    film = patients.own.film_columns
    slopes = np.stack(
        [
            predicted(replace(patients.own, film_columns=one_hot(film, slot, column)))
            - predicted(replace(patients.own, film_columns=torch.zeros_like(film)))
            for slot in range(film.shape[1])
            for column in range(8)
        ]
    ).reshape(film.shape[1], 8, -1)  # [s,f,b]
    for row in patients.is_assessed().nonzero()[:, 0].tolist():
        each = []
        for slot in patients.is_looked_at()[row].nonzero()[:, 0].tolist():
            change = slopes[slot, :, row] * film[row, slot].double().numpy()
            heat = np.abs(change.reshape(4, 2).sum(axis=1))
            each.append(agreement(heat, patients.bone[row, slot].double().numpy()))
        np.testing.assert_allclose(found.exams.maps[row], np.mean(each, axis=0), atol=1e-6)
    assert np.abs(found.exams.maps).max() > 0.1


@pytest.mark.parametrize("reads", ["hidden", "maps"])
def test_a_patients_values_by_cells_do_not_depend_on_who_else_is_there(reads: str) -> None:
    plan, scorer, vector = cell_scorer()
    patients = cell_patients(plan, 7)

    def scored(each: ExplainedPatients) -> ScoredExams:
        if reads == "hidden":
            return score_hidden(scorer, vector, each)
        return score_maps(scorer, vector, each, RULE, cells=plan.settings.features.cells)

    together = scored(patients)
    for row in range(7):
        alone = scored(
            ExplainedPatients(
                patients.own.select([row]),
                tuple(each.select([row]) for each in patients.hidden),
                patients.bone[[row]],
            )
        )
        for name in ("outputs", "replaced", "is_assessed", "maps"):
            mine = getattr(together.select([row]).exams, name)
            assert np.array_equal(getattr(alone.exams, name), mine), name


def one_hot(film: torch.Tensor, slot: int, column: int) -> torch.Tensor:
    """Columns of nothing but a one."""
    found = torch.zeros_like(film)
    found[:, slot, column] = 1.0
    return found


def test_hiding_a_place_of_a_store_of_films_hides_a_square_of_one_film() -> None:
    films = torch.rand(5, 16, 16, generator=torch.Generator().manual_seed(0)).half()
    own = practice_patients(3)
    numbers = torch.arange(3)[:, None].expand(own.film_exam.shape).contiguous() + 1
    hidden = hide_place(replace(own, tokens=numbers, films=films), 1, 5, 16)
    shown = replace(own, tokens=numbers, films=films).with_films().tokens
    changed = (hidden.tokens != shown).nonzero()
    assert set(changed[:, 1].tolist()) == {1}
    assert {(int(y) // 4, int(x) // 4) for *_, y, x in changed} == {(1, 1)}
    assert torch.equal(hidden.tokens[0, 1, 4:8, 4:8], films[0].float().mean().expand(4, 4))


def test_shares_of_places_are_means_of_the_mask_rows_first() -> None:
    masks = np.zeros((2, 6, 6), dtype=np.bool_)
    masks[0, :3, 3:] = True
    masks[0, 3, 0] = True
    shares = shares_of_places(masks, 2)
    assert shares[0].tolist() == [0.0, 1.0, pytest.approx(1 / 9), 0.0]
    assert (shares[1] == NO_MASK).all()
