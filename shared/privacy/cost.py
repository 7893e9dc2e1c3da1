"""What a plan's settings cost a patient: computed by the coordinator, and again by every site.

Both must get the same; a site refuses a plan that says otherwise. Imports settings, plan, accountant.
"""

from __future__ import annotations

from shared.contract.plan import PredictedCost
from shared.contract.settings import FederationSettings, PrivacySettings, Settings
from shared.errors import PlanError
from shared.privacy.accountant import accountant_name, calibrate, epsilon_of
from shared.privacy.events import GaussianEvent


def predict_cost(settings: Settings) -> PredictedCost:
    """What a run will cost a patient of a training split, of a validation split, and of either.

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
    is_described = is_dp and validation.description_epsilon is not None
    louder = calibrate(given(validation.description_epsilon), privacy.delta) if is_described else None
    training = [_training_event(settings)] if is_private else []
    table = [GaussianEvent(noise_multiplier=noise)] if noise is not None else []
    described = [GaussianEvent(noise_multiplier=louder)] if louder is not None else []
    return PredictedCost(
        mechanism=_describe_mechanism(settings.privacy),
        accountant=accountant_name(training or table),
        delta=privacy.delta,
        training_epsilon=epsilon_of(training, privacy.delta) if is_private else None,
        validation_epsilon=epsilon_of(table, privacy.delta) if is_dp else None,
        validation_noise_multiplier=noise,
        description_epsilon=epsilon_of(described, privacy.delta) if is_described else None,
        description_noise_multiplier=louder,
    )


def run_epsilon(settings: Settings, predicted: PredictedCost, *, trains: bool) -> float | None:
    """What a run costs the dearest patient of a site: training or a validation, and a description.

    No patient pays for training and validation both, since splits share nobody. None where the dearest
    patient is promised nothing formal.

    Args:
        settings: resolved.
        predicted: its cost.
        trains: whether the site trains.
    """
    noise, louder = predicted.validation_noise_multiplier, predicted.description_noise_multiplier
    described = [] if louder is None else [GaussianEvent(noise_multiplier=louder)]
    groups = [] if noise is None else [[GaussianEvent(noise_multiplier=noise)]]
    if trains:
        if settings.privacy.mode != "patient_dp":
            return None
        groups.append([_training_event(settings)])
    costs = [epsilon_of([*group, *described], predicted.delta) for group in groups or [[]]]
    return max(costs) if groups or described else None


def _training_event(settings: Settings) -> GaussianEvent:
    return GaussianEvent(
        noise_multiplier=given(settings.privacy.noise_multiplier),
        sample_rate=settings.privacy.sample_rate,
        steps=total_steps(settings.federation),
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
