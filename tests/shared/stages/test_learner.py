"""A learner as a stage is the learner: asked over messages it ends where sums in one process end."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from practice_learners import PLANNED, SITES, learner_plan, patients_of, played, silent, stage_of
from practice_patients import CHANNELS

from shared.errors import PlanError, ProtocolError, WeightsError
from shared.exam.schema import ClassLabel
from shared.learners.table import LEARNERS, build_learner
from shared.stages.learner import LearnerSum, table_task
from shared.stages.stage_sum import require_state
from shared.sums.federate import Noise, federate
from shared.train.patients import join_patients


@pytest.mark.parametrize("name", PLANNED)
def test_without_noise_a_stage_ends_where_the_sums_in_one_process_end(name: str) -> None:
    plan = learner_plan(name, SITES)
    stage = stage_of(plan)
    learner = build_learner(stage.learner, table_task(plan.settings, 0.0))
    columns = [LearnerSum(plan, stage, None).columns_of(each) for each in patients_of(plan)]
    expected = federate(learner, columns, n_declared=150)
    found, asked = played(plan), LearnerSum(plan, stage, None)
    lengths = [asked.state_length(number) for number in range(1, stage.rounds + 2)]
    assert [state.vector.size for state in found] == lengths
    found = found[-1]
    np.testing.assert_allclose(found.vector, expected.vector, rtol=1e-12, atol=1e-12)
    assert found.round == stage.rounds == len(learner.shares())
    start = learner.start().vector
    assert found.vector.shape != start.shape or np.abs(found.vector - start).max() > 1e-3


@pytest.mark.parametrize("name", PLANNED)
def test_with_noise_every_sum_is_told_the_sd_that_its_share_of_the_price_gives(name: str) -> None:
    plan = learner_plan(name, SITES, epsilon=8.0)
    stage = stage_of(plan)
    learner = build_learner(stage.learner, table_task(plan.settings, 8.0))
    multipliers = [stage.noise_of(number) for number in range(1, stage.rounds + 1)]
    # Σ 1/σ² is μ², of which each sum has its share; multipliers are rounded up to two decimals
    mu = math.sqrt(sum(1 / noise**2 for noise in multipliers))
    for noise, share in zip(multipliers, learner.shares(), strict=True):
        assert noise == pytest.approx(1 / (mu * math.sqrt(share)), abs=0.02)
    unrounded = tuple(1 / (mu * math.sqrt(share)) for share in learner.shares())
    stage = stage.model_copy(update={"noise_multipliers": unrounded})
    asked = LearnerSum(plan, stage, None)
    columns = [asked.columns_of(each) for each in patients_of(plan)]
    noise = Noise(mu, silent)  # drawn as zero: totals are rows on the lattice, sds are real
    expected = federate(learner, columns, n_declared=150, noise=noise)
    found = played(plan, stage)[-1].vector
    np.testing.assert_allclose(found, expected.vector, rtol=1e-9, atol=1e-9)


def test_noise_of_every_site_is_in_its_own_total() -> None:
    plan = learner_plan("naive_bayes", SITES, epsilon=8.0)
    stage = stage_of(plan)
    asked = LearnerSum(plan, stage, None)
    [patients, _] = patients_of(plan)
    quiet, loud = (
        asked.answer(
            asked.start().vector,
            patients,
            round_number=1,
            declared_patients=60,
            draw_normals=lambda n, value=value: np.full(n, value),
        )
        for value in (0.0, 1.0)
    )
    learner = build_learner(stage.learner, table_task(plan.settings, 8.0))
    sd = stage.noise_of(1) * learner.bound(learner.start())
    np.testing.assert_allclose(loud - quiet, sd, rtol=1e-6)


def test_a_total_within_reach_of_the_declared_patients_is_below_the_largest() -> None:
    plan = learner_plan("naive_bayes", SITES)
    asked = LearnerSum(plan, stage_of(plan), None)
    learner = build_learner(stage_of(plan).learner, table_task(plan.settings, 0.0))
    bound = learner.bound(learner.start())
    assert asked.largest(1, declared_patients=60) == pytest.approx(10 * 60 * bound)


def test_every_learner_of_the_table_is_tried_as_a_stage() -> None:
    assert {kind for kind, _, _ in PLANNED.values()} == set(LEARNERS)


# A number that somebody puts into a state, and what it is refused as; None where it may be one.
HOSTILE = {
    "at the limit": (1e12, None),
    "at the limit, negative": (-1e12, None),
    "subnormal": (5e-324, None),
    "beyond the limit": (np.nextafter(1e12, np.inf), "protocol.weights-too-large"),
    "beyond it, negative": (np.nextafter(-1e12, -np.inf), "protocol.weights-too-large"),
    "of 1e300": (1e300, "protocol.weights-too-large"),
    "not a number": (np.nan, "protocol.unsound-weights"),
    "infinite": (-np.inf, "protocol.unsound-weights"),
}


@pytest.mark.parametrize("name", PLANNED)
def test_of_hostile_states_those_that_no_sum_survives_are_refused_in_every_round(name: str) -> None:
    plan = learner_plan(name, SITES)
    asked, n_rounds = LearnerSum(plan, stage_of(plan), None), stage_of(plan).rounds
    lengths = [asked.state_length(number) for number in range(1, n_rounds + 2)]
    assert lengths[-1] > 0
    for number, length in enumerate(lengths, start=1):
        found = {}
        for what, (value, _) in HOSTILE.items():
            vector = np.zeros(length)
            vector[-1:] = value
            found[what] = code_of(asked, vector, number)
        wanted = {what: code for what, (_, code) in HOSTILE.items()}
        assert found == (wanted if length else dict.fromkeys(HOSTILE))
        for other in {length - 1, length + 1} - {-1}:
            assert code_of(asked, np.zeros(other), number) == "protocol.wrong-shape"
        floats = np.zeros(length, dtype=np.float32)
        assert code_of(asked, floats, number) == "protocol.unsound-weights"


def code_of(asked: LearnerSum, vector: np.ndarray, number: int) -> str | None:
    """What a request that carries a state is refused as; None where it is not."""
    try:
        require_state(asked, vector, round_number=number)
    except ProtocolError as error:
        return error.code
    return None


def test_the_largest_state_is_the_plans_cap_and_the_refusal_names_it() -> None:
    plan = learner_plan("naive_bayes", SITES)
    caps = plan.settings.caps.model_copy(update={"state_max": 7.0})
    plan = plan.model_copy(update={"settings": plan.settings.model_copy(update={"caps": caps})})
    asked = LearnerSum(plan, stage_of(plan), None)
    with pytest.raises(ProtocolError, match="may be beyond 7:") as caught:
        require_state(asked, np.full(asked.state_length(2), 7.5), round_number=2)
    assert "state_max a number of a learner's state" in str(caught.value.hint)


def test_a_row_at_the_largest_state_is_finite_and_within_its_bound() -> None:
    plan = learner_plan("proportional_odds", SITES, epsilon=8.0)
    asked = LearnerSum(plan, stage_of(plan), None)
    [patients, _] = patients_of(plan)
    draw = np.random.default_rng(1)
    vector = asked.state_largest * draw.choice([-1.0, 1.0], size=asked.state_length(2))
    total = asked.answer(vector, patients, round_number=2, declared_patients=60, draw_normals=silent)
    assert np.isfinite(total).all()
    assert 0 < np.linalg.norm(total) <= len(patients) * 0.5


def test_films_are_left_out_where_the_model_reads_none() -> None:
    plan = learner_plan("ridge", SITES, fusion={"name": "clinical_only"})
    with_films = learner_plan("ridge", SITES)
    [patients, _] = patients_of(plan)
    widths = [
        LearnerSum(each, stage_of(each), None).columns_of(patients).columns.shape[1]
        for each in (plan, with_films)
    ]
    assert widths[1] - widths[0] == CHANNELS
    other = replace(patients, tokens=torch.zeros_like(patients.tokens))
    asked = LearnerSum(plan, stage_of(plan), None)
    first, second = (asked.columns_of(each).columns for each in (patients, other))
    assert np.array_equal(first, second)


def test_a_plan_with_other_rounds_than_the_learners_sums_is_refused() -> None:
    plan = learner_plan("proportional_odds", SITES)
    stage = stage_of(plan).model_copy(update={"rounds": 4})
    with pytest.raises(PlanError) as caught:
        LearnerSum(plan, stage, None)
    assert caught.value.code == "plan.wrong-rounds"


def test_a_learner_takes_patients_and_nothing_else() -> None:
    plan = learner_plan("ridge", SITES)
    asked = LearnerSum(plan, stage_of(plan), None)
    with pytest.raises(WeightsError) as caught:
        asked.answer(
            asked.start().vector, [1, 2], round_number=1, declared_patients=2, draw_normals=silent
        )
    assert caught.value.code == "weights.wrong-patients"


def test_classes_cut_from_bmd_are_ordered_and_words_only_where_the_schema_says_so() -> None:
    settings = learner_plan("naive_bayes", SITES).settings
    assert table_task(settings, 0.0).is_ordered
    for is_ordered in (False, True):
        label = ClassLabel(column="y", classes=("a", "b", "c"), is_ordered=is_ordered)
        cohort = settings.cohort.model_copy(update={"label": label})
        assert table_task(settings.model_copy(update={"cohort": cohort}), 0.0).is_ordered is is_ordered


@pytest.mark.parametrize("name", PLANNED)
def test_what_is_predicted_of_a_patient_does_not_depend_on_the_company_bit_for_bit(name: str) -> None:
    plan = learner_plan(name, SITES, epsilon=8.0)
    stage = stage_of(plan)
    asked, vector = LearnerSum(plan, stage, None), played(plan, stage)[-1].vector
    columns = asked.columns_of(join_patients(*patients_of(plan)))
    together = asked.predict(vector, columns)
    assert len(together) == len(columns) > 128, "more than a chunk of any kernel"
    assert len(np.unique(together[:, 0])) > 1
    for patient in range(len(columns)):
        alone = asked.predict(vector, columns.select([patient]))
        assert alone.tobytes() == together[patient].tobytes()
    for n in (2, 3, 7, 8, 16, 17, 64, 127):
        assert asked.predict(vector, columns.select(range(n))).tobytes() == together[:n].tobytes()
    backwards = asked.predict(vector, columns.select(range(len(columns))[::-1]))
    assert backwards[::-1].tobytes() == together.tobytes()
