"""Validation tables of a plan: whom each asks, with what noise, in how many bins. Public values only.

Imports the contract, the accountant and what is known of a table before it is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.contract.decision import decision_of
from shared.contract.settings import Settings
from shared.contract.stages import BlockWeights, PatientGroup, Ranking, Role, TableStage
from shared.measure.table.planned import bins_of, patients_asked

# Weight of the ranking beside moments, and of the Brier score, where nobody chose another. An AUC needs
# more patients than an R²: with 1.2, 154 patients of three sites say R² to ±.26 and the AUC to ±.24 at
# ε = 3, with 1.8 to ±.29 and ±.19 (what is expected of an ordinary model, ``expected``).
_RANKING_BESIDE_MOMENTS, _ERROR = 1.8, 0.35

Declared = Mapping[Role, Sequence[int]]
"""Patients that the sites of each role declare."""


def table_stage(
    settings: Settings,
    name: str,
    roles: tuple[Role, ...],
    patients: PatientGroup,
    *,
    declared: Declared,
) -> TableStage:
    """A stage that validates the release.

    Args:
        settings: validated settings; bins left null are chosen here.
        name: of the stage.
        roles: of the sites that are asked.
        patients: the group asked there.
        declared: of all sites.
    """
    asked = settings.validation
    noise = table_noise(settings, asked.epsilon)
    minimum = asked.prospective_patients if patients == "accrued" else 1
    sizes = [
        patients_asked(settings.cohort.split, patients, declared=size, minimum_patients=minimum)
        for role in roles
        for size in declared.get(role, ())
    ]
    ranking, blocks = ranking_of(settings), blocks_of(settings)
    n_classes = len(decision_of(settings).classes)
    return TableStage(
        name=name,
        roles=roles,
        patients=patients,
        release_class=asked.release_class,
        noise_multipliers=(noise,),
        ranking=ranking,
        blocks=blocks,
        bins=asked.bins or bins_of(sizes, noise, blocks, ranking, n_classes=n_classes),
        score_low=asked.score_low,
        score_high=asked.score_high,
        target_low=asked.target_low,
        target_high=asked.target_high,
        error_high=asked.error_high,
        minimum_cell=asked.minimum_cell,
        sensitivity_target=asked.sensitivity_target,
        minimum_patients=minimum,
    )


def table_noise(settings: Settings, epsilon: float) -> float:
    """Noise multiplier of one sum that measures at this ε; 0 where the release is governed."""
    from shared.privacy.accountant import calibrate

    if settings.validation.release_class != "dp":
        return 0.0
    return calibrate(epsilon, settings.privacy.delta)


def ranking_of(settings: Settings) -> Ranking:
    """``graded`` where one score ranks all classes: a number, two classes, or one score with cuts."""
    rule = decision_of(settings)
    if rule.is_regression or len(rule.classes) == 2:
        return "graded"
    is_at_an_end = rule.endpoint in (0, len(rule.classes) - 1)
    has_one_score = settings.learner.kind == "proportional_odds"
    return "graded" if rule.is_ordered and is_at_an_end and has_one_score else "each"


def blocks_of(settings: Settings) -> BlockWeights:
    """The weights that were asked for; where none was, those of the blocks that the task has."""
    asked, rule = settings.validation.blocks, decision_of(settings)
    moments = _or(asked.moments, 1.0 if rule.is_regression else 0.0)
    has_confusion = not rule.is_regression and len(rule.classes) > 2
    return BlockWeights(
        ranking=_or(asked.ranking, _RANKING_BESIDE_MOMENTS if moments else 1.0),
        moments=moments,
        confusion=_or(asked.confusion, 1.0 if has_confusion else 0.0),
        error=_or(asked.error, 0.0 if rule.is_regression else _ERROR),
    )


def _or(asked: float | None, otherwise: float) -> float:
    return otherwise if asked is None else asked
