"""The stages of a plan: each asks some sites for one sum, for some rounds, with resolved numbers.

A stage carries only its own settings: which patients and roles it asks, its rounds, its noise, its
release class, and what its kind of sum needs. ``kind`` tells the classes apart. What all stages share
(task, cohort, model) is in ``PlanSettings``. Everything here is a number or a word, nothing is left
open, so that a hospital can judge it and an auditor recount it. Imports the settings of learners and
of measures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field, model_validator

from shared.errors import PlanError, PolicyError
from shared.learners.table import LearnerSettings
from shared.measures.table import MeasureSettings
from shared.strict import FROZEN

Role = Literal["training", "external"]
# What a hospital's policy allows or forbids a stage to do with its patients.
Purpose = Literal[
    "train",
    "evaluate.internal",
    "evaluate.external",
    "evaluate.prospective",
    "evaluate.description",
]
PROSPECTIVE: Purpose = "evaluate.prospective"
# Whose rows are added: a split of the cohort, all its labelled patients, or those accrued under a lock.
PatientGroup = Literal["train", "internal", "everybody", "accrued"]
ReleaseClass = Literal["dp", "governed", "off"]
Fold = Literal["site", "coordinator"]


class StrategySettings(BaseModel):
    """How the coordinator turns the sites' changes of the weights into new weights.

    Attributes:
        name: ``fedavg``: mean by declared size. ``fedprox``: the same, with a pull towards the round's
            weights at the site. ``fedadam``: adaptive steps at the coordinator. Robust, sites alike:
            ``median`` and ``trimmed_mean`` by coordinate, ``geometric_median`` of whole updates.
        server_learning_rate: by which the aggregated change is multiplied.
        proximal_mu: μ of FedProx; 0 is FedAvg.
        adam_beta1: decay of FedAdam's first moment.
        adam_beta2: decay of FedAdam's second moment.
        adam_tau: τ of FedAdam, added to the root of the second moment.
        trimmed_fraction: share of the sites present that are left out at each end, rounded down.
        tail_average: share of the last rounds whose weights a release averages; at least the last.
    """

    model_config = FROZEN

    name: Literal["fedavg", "fedprox", "fedadam", "median", "trimmed_mean", "geometric_median"] = (
        "fedavg"
    )
    server_learning_rate: float = Field(default=1.0, gt=0)
    proximal_mu: float = Field(default=0.0, ge=0)
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    adam_beta2: float = Field(default=0.99, ge=0, lt=1)
    adam_tau: float = Field(default=1e-3, gt=0)
    trimmed_fraction: float = Field(default=0.2, ge=0, lt=0.5)
    tail_average: float = Field(default=0.5, ge=0, le=1)

    @property
    def is_robust(self) -> bool:
        """Whether a minority of bad sites cannot move the result as far as they like."""
        return self.name in ("median", "trimmed_mean", "geometric_median")

    def n_withstood(self, n_sites: int) -> int:
        """Of so many sites present, f: how many may send anything; f needs 2f + 1 sites."""
        if self.name == "trimmed_mean":
            return int(self.trimmed_fraction * n_sites)
        return (n_sites - 1) // 2 if self.is_robust else 0

    def n_averaged(self, rounds: int) -> int:
        """How many of the last ``rounds`` a release averages; at least one."""
        return max(1, math.ceil(self.tail_average * rounds))


class StageSettings(BaseModel):
    """What every stage says.

    Attributes:
        name: unique in its plan; messages, ledger rows and files carry it.
        roles: of the sites that are asked.
        patients: whose rows are added.
        release_class: ``dp`` (noised and charged), ``governed`` (exact, a named person answers for it)
            or ``off`` (exact, no formal guarantee).
        rounds: how often each site is asked.
        noise_multipliers: the noise's standard deviation over the bound of a row, of each sum of a
            message: one for every round, or one for all rounds; 0 unless ``dp``.
    """

    model_config = FROZEN

    name: str = Field(pattern="^[a-z][a-z0-9_]{1,40}$")
    roles: tuple[Role, ...] = Field(min_length=1)
    patients: PatientGroup
    release_class: ReleaseClass
    rounds: int = Field(default=1, ge=1, le=10_000)
    noise_multipliers: tuple[Annotated[float, Field(ge=0, le=1e6)], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _noise_fits(self) -> StageSettings:
        if len(self.noise_multipliers) not in (1, self.rounds):
            raise ValueError("noise_multipliers must be one for all rounds, or one for every round")
        if any((noise > 0) != (self.release_class == "dp") for noise in self.noise_multipliers):
            raise ValueError("noise_multipliers must be above 0 in a dp stage and 0 in any other")
        return self

    def noise_of(self, round_number: int) -> float:
        """Noise multiplier of a round's sums, rounds from 1 on."""
        if len(self.noise_multipliers) == 1:
            return self.noise_multipliers[0]
        return self.noise_multipliers[round_number - 1]


class _Trains(StageSettings):
    """A stage that trains, on training patients alone; noised, or promising nothing."""

    @model_validator(mode="after")
    def _trains_on_training_patients(self) -> _Trains:
        if self.release_class == "governed":
            raise ValueError("release_class of training must be dp or off, not governed")
        if self.patients != "train" or self.roles != ("training",):
            raise ValueError(
                "a stage that trains must ask training sites for their train patients only"
            )
        return self


class _Measures(StageSettings):
    """A stage that measures or describes: noised, or exact with a person who answers for it."""

    @model_validator(mode="after")
    def _has_an_owner(self) -> _Measures:
        if self.release_class == "off":
            raise ValueError("release_class of what measures must be dp or governed, not off")
        return self


class GradientStage(_Trains):
    """Training by sums of clipped patient gradients.

    Attributes:
        fold: where sums become new weights. At the ``coordinator``: one sum a message, added over the
            sites. At the ``site``: ``local_steps`` sums with the site's own noise, and the bounded
            change of the weights leaves.
        local_steps: noised sums that a site draws in a round.
        learning_rate: of each step.
        clip_norm: largest L2 norm of one patient's gradient.
        sample_rate: probability with which a step draws a patient.
        update_norm_max: largest L2 norm of what leaves a site in a round.
        local_tail: share of the last local steps whose weights a site averages before the change
            leaves; 0: the last weights.
        canaries: of the audit register; half of them, drawn by each site, train beside its patients.
        strategy: how the sites' changes become new weights.
    """

    kind: Literal["gradient"] = "gradient"
    fold: Fold
    local_steps: int = Field(ge=1, le=10_000)
    learning_rate: float = Field(gt=0, le=1e4)
    clip_norm: float = Field(gt=0, le=1e6)
    sample_rate: float = Field(gt=0, le=1)
    update_norm_max: float = Field(gt=0, le=1e12)
    local_tail: float = Field(default=0.0, ge=0, le=1)
    canaries: int = Field(default=0, ge=0, le=10_000)
    strategy: StrategySettings = StrategySettings()

    @property
    def total_steps(self) -> int:
        """T, the number of noised sums that a site draws over a whole run."""
        return self.rounds * self.local_steps

    @property
    def is_private(self) -> bool:
        """Whether patients are clipped and sums are noised."""
        return self.release_class == "dp"

    @property
    def noise_multiplier(self) -> float:
        """Noise standard deviation over ``clip_norm``, of every sum; 0 without privacy."""
        return self.noise_multipliers[0]

    @model_validator(mode="after")
    def _is_coherent(self) -> GradientStage:
        if len(set(self.noise_multipliers)) > 1:
            raise ValueError("noise_multipliers of training must be the same in every round")
        is_summable = self.strategy.name == "fedavg" or self.strategy.is_robust
        if self.fold == "coordinator" and (self.local_steps > 1 or not is_summable):
            raise ValueError(
                "fold coordinator must have local_steps 1 and strategy fedavg or a robust one"
            )
        if self.release_class == "off" and (self.canaries or self.sample_rate < 1):
            raise ValueError("release_class off must have canaries 0 and sample_rate 1")
        return self


class LearnerStage(_Trains):
    """A learner of tables: closed-form heads, trees, neighbours, ordered classes (``shared.learners``).

    Its rounds are its sums.

    Attributes:
        learner: its kind and its own settings.
        epsilon: what the stage promises, by which the learner's public schedule chooses; 0 without
            privacy.
    """

    kind: Literal["learner"] = "learner"
    learner: LearnerSettings
    epsilon: float = Field(ge=0, le=50)


# Of statistics alone several exact releases of a split are compared before they are shown.
TABLE_KIND: Final = "table"


def beside_exact_error() -> PolicyError:
    """The error of exact numbers whose difference from earlier ones nobody bounds."""
    return PolicyError(
        "exact-beside-exact",
        "exact numbers were released of these patients, and the difference between them and a table "
        "of another kind may be a few patients",
        hint="ask for noised tables (validation.release_class=dp), or for one exact table of a split",
    )


# How a table ranks: by one score with a row of bins per class, or by each class's probability.
Ranking = Literal["graded", "each"]


class BlockWeights(BaseModel):
    """How a table's noise is shared out among its blocks: more weight, less noise in a block.

    A block of weight 0 is left out and costs nothing.

    Attributes:
        ranking: of scores by class.
        moments: of targets and errors, in regression.
        confusion: of true class × called class, where the ranking does not hold it.
        error: of the Brier score.
    """

    model_config = FROZEN

    ranking: float = Field(gt=0, le=10)
    moments: float = Field(default=0.0, ge=0, le=10)
    confusion: float = Field(default=0.0, ge=0, le=10)
    error: float = Field(default=0.0, ge=0, le=10)


class TableStage(_Measures):
    """Validation of a release: bounded rows of classes, scores and errors (``measure.table``).

    Where it is governed: exact statistics (``measure.governed``), which need neither bins nor clipping.
    Bounds and edges are public.

    Attributes:
        reads: name of the stage whose last state is measured.
        ranking: how it ranks: ``graded``, by one score with a row of bins per class; ``each``, by each
            class's probability.
        blocks: weights of the table's blocks.
        bins: of the score histogram.
        score_low: lower end of the histogram.
        score_high: upper end of the histogram.
        target_low: targets are clipped to it from below.
        target_high: targets are clipped to it from above.
        error_high: errors are clipped to plus and minus it.
        minimum_cell: no figure is shown of fewer patients, and no governed figure leaves that implies
            fewer.
        sensitivity_target: what somebody promised of the operating point; 0: nobody did.
        minimum_patients: accrued patients for whom the table is planned; no condition of an answer.
    """

    kind: Literal["table"] = TABLE_KIND
    reads: str = "train"
    ranking: Ranking
    blocks: BlockWeights
    bins: int = Field(ge=4, le=64)
    score_low: float
    score_high: float
    target_low: float
    target_high: float
    error_high: float = Field(gt=0, le=1e9)
    minimum_cell: int = Field(ge=1)
    sensitivity_target: float = Field(ge=0, lt=1)
    minimum_patients: int = Field(ge=1)

    @model_validator(mode="after")
    def _ranges_have_a_width(self) -> TableStage:
        require_width("score", self.score_low, self.score_high)
        require_width("target", self.target_low, self.target_high)
        return self


class MeasureStage(_Measures):
    """One further measure of a release, with its own settings (``shared.measures``).

    Attributes:
        reads: name of the stage whose last state is measured.
        measure: its kind and its own settings.
        minimum_cell: as of a table.
        minimum_patients: as of a table.
    """

    kind: Literal["measure"] = "measure"
    reads: str = "train"
    measure: MeasureSettings
    minimum_cell: int = Field(ge=1)
    minimum_patients: int = Field(ge=1)


class DescriptionStage(_Measures):
    """Who the patients are: counts, means, shares of the clinical fields (``measure.description``).

    Attributes:
        has_second_moments: whether it holds the products of every pair of variables.
        target_low: targets are clipped to it from below.
        target_high: targets are clipped to it from above.
        minimum_cell: no figure is shown of fewer patients.
    """

    kind: Literal["description"] = "description"
    has_second_moments: bool
    target_low: float
    target_high: float
    minimum_cell: int = Field(ge=1)

    @model_validator(mode="after")
    def _is_coherent(self) -> DescriptionStage:
        # Whom a stage asks is what its price is stated for.
        if self.patients != "everybody":
            raise ValueError(f"patients of a description must be everybody, not {self.patients}")
        require_width("target", self.target_low, self.target_high)
        # An exact product of two one-hots is the count of a group that may be of any size.
        if self.has_second_moments and self.release_class == "governed":
            raise ValueError("has_second_moments must be false in a governed description")
        return self


TrainingStage = GradientStage | LearnerStage
ReleaseStage = TableStage | MeasureStage  # measures a release on patients
Stage = Annotated[TrainingStage | ReleaseStage | DescriptionStage, Field(discriminator="kind")]


def require_width(name: str, low: float, high: float) -> None:
    """Refuse a public range that is empty or of no scale.

    Raises:
        ValueError: as a validator raises it.
    """
    if not -1e9 <= low < high <= 1e9:
        raise ValueError(f"{name}_low must be below {name}_high, both within 1e9")


def purpose_of(stage: Stage) -> Purpose:
    """What a stage does with patients, from what it is and never from what it is called."""
    if isinstance(stage, DescriptionStage):
        return "evaluate.description"
    if isinstance(stage, ReleaseStage):
        purposes: dict[PatientGroup, Purpose] = {
            "internal": "evaluate.internal",
            "everybody": "evaluate.external",
            "accrued": "evaluate.prospective",
        }
        has_trained = stage.patients == "everybody" and "training" in stage.roles
        if stage.patients in purposes and not has_trained:
            return purposes[stage.patients]
        raise PlanError(
            "measures-its-training",
            f"stage {stage.name} must not measure a release on the patients who trained it",
            hint="measure on internal, everybody (of an external site) or accrued patients",
        )
    return "train"


def exact_conflicts(stages: Iterable[Stage]) -> tuple[str, ...]:
    """Stages of one site that ask exact numbers of the same patients, of which its gate releases one.

    Statistics are compared with statistics before they are shown; of another table nobody could say how
    few patients its difference from them is.
    """
    asked: dict[Purpose, list[Stage]] = {}
    for stage in stages:
        if stage.release_class == "governed":
            asked.setdefault(purpose_of(stage), []).append(stage)
    return tuple(
        f"{' and '.join(each.name for each in group)} ask exact numbers of the same patients, whose "
        "difference may be a few of them: a hospital releases the first alone"
        for group in asked.values()
        if len(group) > 1 and {each.kind for each in group} != {TABLE_KIND}
    )
