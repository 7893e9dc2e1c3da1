"""What a plan's settings cost a patient: computed by the coordinator, and again by every site.

Both must get the same; a site refuses a plan that says otherwise. Imports settings, plan, accountant.
"""

from __future__ import annotations

from shared.errors import PlanError
from shared.plan import PredictedCost
from shared.privacy.accountant import accountant_name, calibrate, epsilon_of
from shared.privacy.events import GaussianEvent
from shared.settings import FederationSettings, PrivacySettings, Settings


def predict_cost(settings: Settings) -> PredictedCost:
    """What a run will cost a patient of a training split, and of a validation split.

    Args:
        settings: resolved: rounds, steps and noise multiplier have values.

    Raises:
        PlanError: a value is still open.
        PrivacyError: the noise is too low or the sampled steps too many to be accounted, or the
            validation's ε is out of reach.
    """
    privacy, validation = settings.privacy, settings.validation
    is_private, is_dp = privacy.mode == "patient_dp", validation.release_class == "dp"
    noise = calibrate(validation.epsilon, privacy.delta) if is_dp else None
    training = []
    if is_private:
        training.append(
            GaussianEvent(
                noise_multiplier=given(privacy.noise_multiplier),
                sample_rate=privacy.sample_rate,
                steps=total_steps(settings.federation),
            )
        )
    table = [GaussianEvent(noise_multiplier=noise)] if noise is not None else []
    return PredictedCost(
        mechanism=_describe_mechanism(settings.privacy),
        accountant=accountant_name(training or table),
        delta=privacy.delta,
        training_epsilon=epsilon_of(training, privacy.delta) if is_private else None,
        validation_epsilon=epsilon_of(table, privacy.delta) if is_dp else None,
        validation_noise_multiplier=noise,
    )


def _describe_mechanism(privacy: PrivacySettings) -> str:
    if privacy.mode != "patient_dp":
        return "none: no formal privacy guarantee"
    gaussian = "Gaussian on the sum of clipped patient gradients"
    if privacy.sample_rate == 1:
        return gaussian
    return f"{gaussian}, each patient in a step with chance {privacy.sample_rate:g} (Poisson)"


def total_steps(federation: FederationSettings) -> int:
    """T, the number of noised sums a site releases over a whole run."""
    return int(given(federation.rounds)) * int(given(federation.local_steps))


def given(value: float | None) -> float:
    """A resolved value.

    Raises:
        PlanError: it is still open.
    """
    if value is None:
        raise PlanError("unresolved", "a plan's settings must all have values")
    return value
