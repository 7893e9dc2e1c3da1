"""Training as a stage: what a site sends, how totals become weights, what both sides hold it to."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from practice_learners import silent
from practice_patients import practice_patients, practice_settings
from practice_plan import plan_of, trained

from shared.contract.plan import Plan
from shared.contract.settings import PrivacySettings
from shared.contract.stages import GradientStage, StrategySettings
from shared.errors import WeightsError
from shared.model.build import build_model
from shared.model.weights import flatten_weights, trainable
from shared.stages.gradient import GradientSum
from shared.stages.stage_sum import StageState
from shared.train.aggregate import next_weights
from shared.train.patients import PatientBatch, join_patients
from shared.train.update import train_update

SITES = {"aster": 5, "birch": 9}
NOISE, CLIP = 2.0, 0.5


def private_plan(fusion: str = "linear") -> Plan:
    privacy = PrivacySettings(mode="patient_dp", noise_multiplier=NOISE, clip_norm=CLIP)
    return plan_of(practice_settings(fusion).model_copy(update={"privacy": privacy}), SITES)


def open_plan(fusion: str = "linear") -> Plan:
    return plan_of(practice_settings(fusion), SITES)


def asked_of(plan: Plan, **changes: object) -> tuple[GradientStage, GradientSum]:
    """The plan's training with single sums, changed, as both sides build it."""
    plain = {"fold": "coordinator", "local_steps": 1, "learning_rate": 0.2}
    stage = trained(plan, **(plain | changes))
    return stage, GradientSum(plan, stage, None)


def patients() -> list[PatientBatch]:
    return [practice_patients(n, seed=n) for n in SITES.values()]


def moved(asked: GradientSum) -> np.ndarray:
    """Weights where no gradient is special."""
    start = asked.start().vector
    return (start + np.linspace(-0.3, 0.3, start.size)).astype(np.float32)


def total_of(
    asked: GradientSum,
    vector: np.ndarray,
    batch: PatientBatch,
    *,
    declared: int = 5,
    normal: float = 0.0,
) -> np.ndarray:
    return asked.answer(
        vector,
        batch,
        round_number=1,
        declared_patients=declared,
        draw_normals=lambda n: torch.full((n,), normal, dtype=torch.float64),
    )


def test_training_starts_from_the_weights_that_the_plans_seed_draws() -> None:
    plan = open_plan("concatenation")
    _, asked = asked_of(plan)
    expected = flatten_weights(build_model(plan.settings, plan.settings.seed))
    assert (asked.start().round, asked.start().memory) == (0, {})
    assert np.array_equal(asked.start().vector, expected)
    assert asked.state_length(1) == expected.size
    assert (asked.state_kind, asked.state_largest) == ("<f4", plan.settings.caps.weight_max)


@pytest.mark.parametrize("fusion", ["linear", "concatenation", "cross_attention"])
def test_clipped_sums_over_the_sites_are_the_sum_over_everybody_as_integers(fusion: str) -> None:
    _, asked = asked_of(private_plan(fusion))
    weights, [one, two] = moved(asked), patients()
    apart = [total_of(asked, weights, batch) for batch in (one, two)]
    pooled = total_of(asked, weights, join_patients(one, two))
    assert pooled.dtype == np.float64
    assert np.linalg.norm(pooled) > CLIP
    assert np.array_equal(apart[0] + apart[1], pooled)


@pytest.mark.parametrize("fusion", ["linear", "concatenation", "cross_attention"])
def test_folded_at_the_coordinator_a_round_is_the_step_over_everybody(fusion: str) -> None:
    for plan in (private_plan(fusion), open_plan(fusion)):
        stage, asked = asked_of(plan)
        state = StageState(round=4, vector=moved(asked))
        totals = [total_of(asked, state.vector, batch) for batch in patients()]
        after = asked.advance(state, totals, sites=plan.roster)
        pooled = total_of(asked, state.vector, join_patients(*patients()))
        # float64 before the one cast to the weights' type
        expected = state.vector.astype(np.float64) - stage.learning_rate * pooled / 14
        np.testing.assert_allclose(sum(totals), pooled, rtol=1e-9, atol=1e-9)
        assert (after.round, after.vector.dtype) == (5, np.dtype("<f4"))
        np.testing.assert_allclose(after.vector, expected.astype(np.float32), rtol=0, atol=1e-7)
        assert np.abs(after.vector - state.vector).max() > 1e-4


def test_the_coordinators_step_divides_by_who_is_present_and_by_the_sampled_share() -> None:
    plan = private_plan()
    strategy = StrategySettings(server_learning_rate=0.5)
    stage, asked = asked_of(plan, sample_rate=0.25, strategy=strategy)
    start = np.zeros(asked.state_length(1), np.float32)
    total = np.linspace(-1, 1, start.size)
    state = StageState(round=0, vector=start)
    both = asked.advance(state, [total, 2 * total], sites=plan.roster)
    np.testing.assert_allclose(both.vector, -0.5 * 0.2 * 3 * total / (0.25 * 14), rtol=1e-6)
    alone = asked.advance(state, [2 * total], sites=plan.roster[1:])
    np.testing.assert_allclose(alone.vector, -0.5 * 0.2 * 2 * total / (0.25 * 9), rtol=1e-6)
    assert stage.strategy == strategy


def test_folded_at_the_site_changes_are_averaged_by_declared_size_over_who_is_present() -> None:
    plan = private_plan()
    _, asked = asked_of(plan, fold="site", local_steps=3)
    start = np.linspace(0, 1, asked.state_length(1)).astype(np.float32)
    changes = [np.full(start.size, 0.5, np.float32), np.full(start.size, -1.0, np.float32)]
    state = StageState(round=2, vector=start)
    both = asked.advance(state, changes, sites=plan.roster)
    np.testing.assert_allclose(both.vector, start + (5 * 0.5 - 9) / 14, rtol=1e-6)
    alone = asked.advance(state, changes[1:], sites=plan.roster[1:])
    np.testing.assert_allclose(alone.vector, start - 1.0, rtol=1e-6)
    assert (both.round, alone.round) == (3, 3)


@pytest.mark.parametrize("rule", ["median", "trimmed_mean", "geometric_median"])
def test_a_robust_rule_at_the_coordinator_compares_what_each_declared_patient_adds(rule: str) -> None:
    plan = plan_of(practice_settings("linear"), {"aster": 5, "birch": 10, "cedar": 40})
    strategy = StrategySettings(name=rule, trimmed_fraction=0.4)
    stage, asked = asked_of(plan, strategy=strategy)
    start = np.zeros(asked.state_length(1), np.float32)
    direction = np.linspace(-1, 1, start.size)
    # by declared patient 2, 1 and 0.9 times the direction: in line, so that each rule takes the middle
    totals = [5 * 2.0 * direction, 10 * 1.0 * direction, 40 * 0.9 * direction]
    after = asked.advance(StageState(round=0, vector=start), totals, sites=plan.roster)
    np.testing.assert_allclose(after.vector, -stage.learning_rate * direction, rtol=1e-4, atol=1e-6)
    equal = [entry.declared_patients * direction for entry in plan.roster]
    alike = asked.advance(StageState(round=0, vector=start), equal, sites=plan.roster)
    _, plain = asked_of(plan)
    mean = plain.advance(StageState(round=0, vector=start), equal, sites=plan.roster)
    np.testing.assert_allclose(alike.vector, mean.vector, rtol=1e-6)


def test_what_a_strategy_must_remember_goes_with_the_state() -> None:
    plan, strategy = private_plan(), StrategySettings(name="fedadam", server_learning_rate=0.1)
    _, asked = asked_of(plan, fold="site", local_steps=2, strategy=strategy)
    start = asked.start()
    changes = [np.full(start.vector.size, value, np.float32) for value in (0.5, -1.0)]
    shares = [5 / 14, 9 / 14]
    first = asked.advance(start, changes, sites=plan.roster)
    second = asked.advance(first, changes, sites=plan.roster)
    weights, memory = next_weights(start.vector, changes, shares=shares, memory={}, strategy=strategy)
    assert set(first.memory) == set(memory) != set()
    weights, memory = next_weights(weights, changes, shares=shares, memory=memory, strategy=strategy)
    np.testing.assert_allclose(second.vector, weights)
    forgetful = asked.advance(StageState(round=1, vector=first.vector), changes, sites=plan.roster)
    assert not np.array_equal(forgetful.vector, second.vector)


def test_the_noise_of_a_single_sum_is_sigma_times_the_clip_norm_in_every_weight() -> None:
    _, asked = asked_of(private_plan())
    weights, batch = moved(asked), patients()[0]
    quiet, loud = (total_of(asked, weights, batch, normal=normal) for normal in (0.0, 1.0))
    np.testing.assert_allclose(loud - quiet, NOISE * CLIP, atol=2.0**-31)  # the lattice


def test_a_change_folded_at_the_site_has_taken_its_declared_size_and_all_its_steps() -> None:
    plan = private_plan()
    stage, asked = asked_of(plan, fold="site", local_steps=4, update_norm_max=100.0)
    drawn: list[int] = []

    def draw(n: int) -> torch.Tensor:
        drawn.append(n)
        return torch.zeros(n, dtype=torch.float64)

    batch, weights = patients()[0], moved(asked)
    change = asked.answer(weights, batch, round_number=1, declared_patients=7, draw_normals=draw)
    assert sum(drawn) == 4 * change.size
    expected = train_update(plan.settings, stage, batch, weights, divisor=7, draw_normals=silent_tensor)
    assert change.dtype == np.float32
    assert np.array_equal(change, expected)
    half = asked.answer(
        weights, batch, round_number=1, declared_patients=14, draw_normals=silent_tensor
    )
    assert np.linalg.norm(half) < 0.8 * np.linalg.norm(change)


def silent_tensor(n: int) -> torch.Tensor:
    return torch.zeros(n, dtype=torch.float64)


@pytest.mark.parametrize(("tail", "steps"), [(0.0, [4]), (0.25, [4]), (0.5, [3, 4]), (0.6, [2, 3, 4])])
def test_a_local_tail_is_the_average_of_the_last_steps_weights(tail: float, steps: list[int]) -> None:
    plan = private_plan()
    batch = patients()[1]

    def change_after(n_steps: int, share: float) -> np.ndarray:
        _, asked = asked_of(
            plan, fold="site", local_steps=n_steps, local_tail=share, update_norm_max=100.0
        )
        return total_of(asked, moved(asked), batch, declared=9).astype(np.float64)

    found = change_after(4, tail)
    expected = np.mean([change_after(number, 0.0) for number in steps], axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert (np.abs(found - change_after(4, 0.0)).max() > 1e-4) == (len(steps) > 1)


def test_a_total_is_bounded_by_the_plan_or_by_its_noise() -> None:
    plan = private_plan()
    _, apart = asked_of(plan, fold="site", local_steps=3, update_norm_max=0.01)
    change = total_of(apart, moved(apart), patients()[0])
    assert apart.bound(1).norm_max == apart.largest(1, declared_patients=5) == 0.01
    assert (apart.bound(1).kind, apart.bound(1).length) == ("<f4", change.size)
    assert 0.0099 < np.linalg.norm(change) <= 0.01
    _, summed = asked_of(plan)
    assert (summed.bound(1).kind, summed.bound(1).norm_max) == ("<f8", None)
    assert apart.bound(1).suppress is summed.bound(1).suppress is None
    _, unclipped = asked_of(open_plan())
    assert unclipped.largest(1, declared_patients=5) == math.inf


def test_an_honest_total_of_ten_times_the_declared_patients_is_not_beyond_the_largest() -> None:
    _, asked = asked_of(private_plan())
    weights, one = moved(asked), practice_patients(1, seed=3)
    alike = join_patients(*[one] * 50)  # 50 patients with one clipped gradient, 5 declared
    total = total_of(asked, weights, alike)
    largest = asked.largest(1, declared_patients=5)
    assert np.linalg.norm(total) == pytest.approx(50 * CLIP, rel=1e-6)
    # beside them, the noise's typical length and ten of its SDs
    radius = NOISE * CLIP * (math.sqrt(total.size) + 10)
    assert largest == pytest.approx(50 * CLIP + radius)
    draw = np.random.default_rng(4)
    for _ in range(200):
        noise = NOISE * CLIP * draw.normal(size=total.size)
        assert np.linalg.norm(total + noise) < largest
    assert np.linalg.norm(total) * 3 > largest, "and much more is"


def test_training_takes_patients_and_nothing_else() -> None:
    _, asked = asked_of(private_plan())
    with pytest.raises(WeightsError) as caught:
        asked.answer(
            asked.start().vector, [1, 2], round_number=1, declared_patients=5, draw_normals=silent
        )
    assert caught.value.code == "weights.wrong-patients"


@pytest.mark.parametrize("fold", ["coordinator", "site"])
def test_the_parts_of_a_total_are_the_models_tensors_one_after_the_other(fold: str) -> None:
    plan = private_plan("concatenation")
    stage, _ = asked_of(plan)
    promised = GradientSum(
        plan, stage.model_copy(update={"fold": fold, "local_steps": 1}), None
    ).promised(1, declared_patients=50)
    names = [name for name, _ in trainable(build_model(plan.settings, plan.settings.seed))]
    assert list(promised.parts) == names
    ends = [0, *(part.stop for part in promised.parts.values())]
    assert [part.start for part in promised.parts.values()] == ends[:-1]
    assert ends[-1] == flatten_weights(build_model(plan.settings, plan.settings.seed)).size
    row = {"coordinator": stage.clip_norm, "site": stage.learning_rate * stage.clip_norm / 50}[fold]
    assert promised.row == pytest.approx(row)
    assert promised.sd == promised.fresh_sd == pytest.approx(stage.noise_multiplier * row)
    assert (promised.spacing > 0) == (fold == "coordinator")
