"""Solving a patient's features from one update: exact without noise, hopeless with a plan's noise."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from practice_patients import practice_settings
from practice_plan import plan_of, with_training

from shared.audit.attack import inversion
from shared.audit.attack.inversion import (
    chance_error,
    inversion_findings,
    invert_last_layer,
    relative_error,
    scaled_error,
)
from shared.audit.finding import Finding
from shared.contract.plan import Plan
from shared.errors import AuditError
from shared.privacy.accountant import calibrate

torch.set_num_threads(1)

FUSIONS = ["linear", "concatenation", "cross_attention"]


def attacked_plan(
    fusion: str = "linear",
    *,
    noise_multiplier: float | None = None,
    local_steps: int = 5,
    fold: str = "site",
) -> Plan:
    """ε = 8 over 50 steps, unless the noise is given; 0: clipped without noise."""
    noise = calibrate(8.0, 1e-5, steps=50) if noise_multiplier is None else noise_multiplier
    plan = plan_of(practice_settings(fusion), {"aster": 100})
    return with_training(
        plan,
        release_class="dp",
        noise_multipliers=(noise,),
        fold=fold,
        rounds=50 // local_steps,
        local_steps=local_steps,
        local_tail=0.0,
        learning_rate=0.3,
        update_norm_max=1e6,
    )


def figure(finding: Finding, name: str) -> float:
    value = finding.figures[name]
    assert isinstance(value, float)
    return value


def test_features_are_weight_over_bias_of_the_output_that_moved_most() -> None:
    features = np.array([1.0, -2.0, 0.5])
    slopes = np.array([0.0, -0.7])  # two outputs, the first did not move
    head = np.concatenate([np.outer(slopes, features).ravel(), slopes])
    update = np.concatenate([[9.0, 9.0], head]).astype(np.float32)
    shapes = [("inner.weight", [1, 2]), ("head.weight", [2, 3]), ("head.bias", [2])]
    np.testing.assert_allclose(invert_last_layer(update, shapes), features, rtol=1e-6)
    assert not invert_last_layer(np.zeros(10, np.float32), shapes).any()


@pytest.mark.parametrize(
    "shapes",
    [
        [("head.weight", [2, 3]), ("other.bias", [2])],
        [("head.weight", [2, 3]), ("head.bias", [3])],
        [("gate.weight", [2]), ("gate.bias", [2])],
    ],
)
def test_a_last_layer_that_is_not_linear_is_refused(shapes: list[tuple[str, list[int]]]) -> None:
    with pytest.raises(AuditError, match="a linear layer's weight and bias"):
        invert_last_layer(np.zeros(8, np.float32), shapes)


def test_errors_are_relative_and_the_best_scale_leaves_the_direction() -> None:
    true = np.array([3.0, 4.0])
    assert relative_error(np.zeros(2), true) == 1
    assert relative_error(np.array([3.0, 9.0]), true) == 1
    assert scaled_error(-7 * true, true) == pytest.approx(0)
    assert scaled_error(np.array([4.0, -3.0]), true) == pytest.approx(1)
    assert scaled_error(np.array([1.0, 0.0]), true) == pytest.approx(0.8)
    assert scaled_error(np.zeros(2), true) == 1


def test_a_guess_is_closer_in_few_dimensions() -> None:
    directions = np.random.default_rng(0).standard_normal((20_001, 5))
    true = np.eye(5)[0]
    simulated = np.median([scaled_error(direction, true) for direction in directions])
    assert chance_error(5) == pytest.approx(simulated, abs=0.005)
    assert chance_error(400) > 0.999


@pytest.mark.parametrize(
    ("fusion", "local_steps", "fold"),
    [(fusion, 5, "site") for fusion in FUSIONS] + [("linear", 1, "coordinator")],
)
def test_the_control_finds_the_features_and_the_plans_noise_hides_them(
    fusion: str, local_steps: int, fold: str
) -> None:
    (finding,) = inversion_findings(attacked_plan(fusion, local_steps=local_steps, fold=fold))
    assert figure(finding, "relative_error_control") < 1e-3
    assert figure(finding, "relative_error") > 0.9
    assert figure(finding, "relative_error_at_best_scale") > 0.9
    assert finding.verdict == "pass"


def test_clipping_without_noise_hides_nothing() -> None:
    (finding,) = inversion_findings(attacked_plan(noise_multiplier=0.0))
    assert figure(finding, "relative_error") < 1e-3
    assert finding.verdict == "fail"


def test_noise_that_spoils_the_length_but_not_the_direction_is_too_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # from a seed, so that this is one draw for ever
    draw = torch.Generator().manual_seed(2)
    seeded = functools.partial(torch.randn, generator=draw, dtype=torch.float64)
    monkeypatch.setattr("shared.audit.attack.inversion.NoiseStream", lambda: seeded)
    (finding,) = inversion_findings(attacked_plan(noise_multiplier=0.6))
    assert figure(finding, "relative_error_at_best_scale") < 0.9 < figure(finding, "relative_error")
    assert finding.verdict == "fail"


def test_the_control_takes_one_step_however_long_the_plans_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inversion, "_DRAWS", 1)
    plan = with_training(attacked_plan("cross_attention"), learning_rate=300.0)
    (finding,) = inversion_findings(plan)
    assert figure(finding, "relative_error_control") < 1e-3


def test_a_plan_without_privacy_fails() -> None:
    open_plan = plan_of(practice_settings("linear"), {"aster": 100})
    assert open_plan.training is not None
    assert open_plan.training.release_class == "off"
    (finding,) = inversion_findings(open_plan)
    assert finding.verdict == "fail"


def test_an_attack_that_fails_without_noise_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = inversion.invert_last_layer
    monkeypatch.setattr(inversion, "invert_last_layer", lambda *given: real(*given) + 0.1)
    (finding,) = inversion_findings(attacked_plan())
    assert finding.verdict == "not-run"
    assert "the attack fails without noise too" in finding.because
