"""Every setting of a run, validated: what a coordinator asks for, and what a plan carries by value.

YAML in ``configs/`` is composed by Hydra at the coordinator only and becomes one ``Settings`` here, in
which a null asks for the public schedule's value. When a plan is written, nothing stays open: what all
stages share becomes ``PlanSettings``, the rest becomes the plan's ``stages``. Imports errors, the
cohort schema and the stages only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import (
    BaseModel,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from shared.contract.contradictions import (
    model_contradictions,
    split_contradictions,
    validation_contradictions,
)
from shared.contract.model_settings import Caps, ModelSettings
from shared.contract.schedules import STANDARD, ScheduleRows
from shared.contract.stages import Fold, StrategySettings, require_width
from shared.contract.unused import list_unused
from shared.errors import SettingsError
from shared.exam.schema import MOST_EXAMS, MOST_FILMS
from shared.features.sources import FeatureSettings
from shared.learners.refused import refusal_of
from shared.learners.table import LEARNERS, LearnerSettings
from shared.measures.table import MeasureSettings
from shared.strict import (
    FROZEN,
    list_mistakes,
    nearest,
    refuse_contradictions,
    require_printable,
)


class PrivacySettings(BaseModel):
    """Patient-level differential privacy, add/remove adjacency; ``off`` promises nothing formal.

    Attributes:
        mode: ``patient_dp`` clips and noises; ``off`` does neither, and a hospital's policy must allow
            it.
        epsilon: ε that training costs each patient over the whole run; null only where mode is off.
        delta: δ of every ε in the plan.
        clip_norm: largest L2 norm of one patient's gradient in a sum.
        noise_multiplier: noise's standard deviation over ``clip_norm``; null: the least that keeps
            ``epsilon``, found when the plan is written.
        sample_rate: probability with which a step draws a patient; 1: every patient in every step.
        max_views: films of one patient; every patient is computed with room for as many.
        max_exams: exams of one patient; every patient is computed with room for as many.
        update_norm_max: largest L2 norm of what leaves a site in a round; null: a public bound from
            steps, rate and noise, found when the plan is written.
        canaries: of the audit register; half of them, drawn by each site, train beside its patients.
    """

    model_config = FROZEN

    mode: Literal["patient_dp", "off"]
    epsilon: float | None = Field(default=3.0, gt=0, le=50)
    delta: float = Field(default=1e-5, gt=0, lt=0.01)
    clip_norm: float = Field(default=0.5, gt=0, le=1e6)
    noise_multiplier: float | None = Field(default=None, ge=0, le=1e6)
    sample_rate: float = Field(default=1.0, gt=0, le=1)
    max_views: int = Field(default=4, ge=1, le=MOST_FILMS)
    max_exams: int = Field(default=2, ge=1, le=MOST_EXAMS)
    update_norm_max: float | None = Field(default=None, gt=0, le=1e9)
    canaries: int = Field(default=0, ge=0, le=10_000)

    @model_validator(mode="after")
    def _has_a_target(self) -> PrivacySettings:
        if self.mode == "patient_dp" and self.epsilon is None:
            raise ValueError("patient_dp needs epsilon")
        if self.mode == "off" and (self.canaries or self.sample_rate < 1):
            raise ValueError("privacy off must have canaries 0 and sample_rate 1: it promises nothing")
        return self


class FederationSettings(BaseModel):
    """Rounds, quorum and patience.

    A null of the first five is filled in from the fusion's public schedule when a plan is written.

    Attributes:
        rounds: messages of each site.
        local_steps: noised sums that a site draws in a round.
        learning_rate: of each step.
        fold: where sums become weights: ``coordinator``, one sum a message; ``site``, several steps
            there.
        local_tail: share of a round's last steps that a site averages before they leave; 0: the last
            weights.
        quorum: share of the training sites without which a round stops.
        round_deadline_s: seconds that a site has for its whole answer. None: twice the way of a message
            over the declared link, an hour at least.
        liveness_s: seconds after which a node that is offline counts as missing.
        poll_s: seconds between two looks for answers.
        reply_quantum_s: seconds, in multiples of which after its request an answer leaves a site, so
            that nobody sees how long it took; 0: at once. None: 60 in a run that is deployed over
            hospitals (a quarter of the deadline at most), else 0.
        link_mbit_s: megabits a second of a site's link, by which a plan foretells its hours.
        link_wait_h: hours that a message waits for its answer besides: a tunnel that opens at night, a
            courier's way.
    """

    model_config = FROZEN

    rounds: int | None = Field(default=None, ge=1, le=10_000)
    local_steps: int | None = Field(default=None, ge=1, le=10_000)
    learning_rate: float | None = Field(default=None, gt=0, le=1e4)
    fold: Fold | None = None
    local_tail: float | None = Field(default=None, ge=0, le=1)
    quorum: float = Field(default=0.5, gt=0, le=1)
    round_deadline_s: float | None = Field(default=None, gt=0)
    liveness_s: float = Field(default=300.0, gt=0)
    poll_s: float = Field(default=0.2, gt=0)
    reply_quantum_s: float | None = Field(default=None, ge=0, le=86_400)
    link_mbit_s: float = Field(default=10.0, gt=0)
    link_wait_h: float = Field(default=0.0, ge=0)


class BlockSettings(BaseModel):
    """Weights of a table's blocks: more weight, less noise in a block and more in the others; 0 leaves
    a block out.

    Null is the task's own weight, where the task has the block.

    Attributes:
        ranking: of scores by class; null: 1, and 1.8 beside moments.
        moments: of targets and errors, in regression.
        confusion: of true class × called class, where the ranking does not hold it.
        error: of the Brier score; null: 0.35.
    """

    model_config = FROZEN

    ranking: float | None = Field(default=None, gt=0, le=10)
    moments: float | None = Field(default=None, ge=0, le=10)
    confusion: float | None = Field(default=None, ge=0, le=10)
    error: float | None = Field(default=None, ge=0, le=10)


class ValidationSettings(BaseModel):
    """What a validation releases. All bounds and edges are public.

    Attributes:
        release_class: ``dp``: noised tables. ``governed``: exact statistics under disclosure rules, for
            which a named person at the hospital answers.
        epsilon: ε that a table costs each patient of the split; the splits share no patient.
        bins: of the score histogram; null: chosen for each stage from the noise that is expected, when
            the plan is written.
        blocks: weights of the table's blocks.
        score_low: lower end of the histogram: a probability in classification, a predicted target in
            regression.
        score_high: upper end of the histogram.
        target_low: targets are clipped to it from below before their sums leave.
        target_high: targets are clipped to it from above.
        error_high: errors are clipped to plus and minus it.
        minimum_cell: no figure is shown of fewer patients, and no governed figure leaves that implies
            fewer.
        sensitivity_target: sensitivity that somebody promises at the operating point; 0: nobody does.
        prospective_patients: new patients of a site for whom prospective tables are planned; when it
            answers, the lock says.
        description_epsilon: ε that every labelled patient pays, besides training or validation, for a
            description of the cohorts (``shared.measure.description.rows``); null: none is released.
        description_second_moments: whether the description holds the products of every pair of
            variables.
    """

    model_config = FROZEN

    release_class: Literal["dp", "governed"] = "dp"
    epsilon: float = Field(default=3.0, gt=0, le=50)
    bins: int | None = Field(default=None, ge=4, le=64)
    blocks: BlockSettings = BlockSettings()
    score_low: float = 0.0
    score_high: float = 1.0
    target_low: float = 0.0
    target_high: float = 1.0
    error_high: float = Field(default=1.0, gt=0, le=1e9)
    minimum_cell: int = Field(default=10, ge=1)
    sensitivity_target: float = Field(default=0.0, ge=0, lt=1)
    prospective_patients: int = Field(default=30, ge=1)
    description_epsilon: float | None = Field(default=None, gt=0, le=50)
    description_second_moments: bool = False

    @model_validator(mode="after")
    def _pairs_are_noised(self) -> ValidationSettings:
        # An exact product of two one-hots is the count of a group that may be of any size.
        if self.description_second_moments and self.release_class == "governed":
            raise ValueError("description_second_moments must be false in a governed release")
        return self

    @model_validator(mode="after")
    def _ranges_have_a_width(self) -> ValidationSettings:
        require_width("score", self.score_low, self.score_high)
        require_width("target", self.target_low, self.target_high)
        return self


class EngineSettings(BaseModel):
    """Where ServerApp and ClientApps run.

    Attributes:
        name: ``local``: one process. ``ray``: Flower's simulation. ``deployed``: a SuperLink and the
            hospitals' SuperNodes.
        superlink: host:port of the SuperLink, where it is deployed.
    """

    model_config = FROZEN

    name: Literal["local", "ray", "deployed"] = "local"
    superlink: str = "127.0.0.1:9092"


class MeasureRequest(BaseModel):
    """A further measure of the release: where, and at what price to each patient there.

    Attributes:
        groups: validations that it is a part of.
        epsilon: ε that it costs each patient of such a group, besides the table.
        measure: its kind and its own settings.
    """

    model_config = FROZEN

    groups: tuple[Literal["internal", "external", "prospective"], ...] = Field(min_length=1)
    epsilon: float = Field(gt=0, le=50)
    measure: MeasureSettings

    @model_validator(mode="after")
    def _is_of_a_run(self) -> MeasureRequest:
        if self.measure.kind == "importance" and self.measure.of != "fields":
            raise ValueError(
                "measure.of must be fields: local training is a hospital's own (`osteofed-site "
                "personalise`)"
            )
        return self


class GradientLearner(BaseModel):
    """Training of the fusion, and of the encoder where it learns, by sums of patient gradients."""

    model_config = FROZEN

    kind: Literal["gradient"] = "gradient"


class Settings(ModelSettings):
    """What a coordinator asks for; a null is filled in from the public schedule or the promised ε.

    Attributes:
        schedule: which of the schedules fills in what is null.
        schedules: of the fusion, by name, where its YAML has them; one that is null there is none.
        learner: what trains: gradients of the fusion, or a learner of tables.
        privacy: what is promised to a patient.
        strategy: how the sites' updates become weights.
        federation: rounds, quorum and patience.
        validation: what a validation releases.
        measures: further measures by name.
        engine: where the programs run.
    """

    schedule: str = STANDARD
    schedules: dict[str, ScheduleRows] = Field(min_length=1)
    learner: LearnerSettings | GradientLearner = Field(discriminator="kind")
    privacy: PrivacySettings
    strategy: StrategySettings
    federation: FederationSettings
    validation: ValidationSettings
    measures: dict[str, MeasureRequest] = Field(default_factory=dict)
    engine: EngineSettings

    @property
    def caps(self) -> Caps:
        """The limits that a plan of these settings will have."""
        return Caps(max_views=self.privacy.max_views, max_exams=self.privacy.max_exams)

    @model_validator(mode="before")
    @classmethod
    def _is_printable(cls, values: object) -> object:
        return require_printable(values)

    @model_validator(mode="before")
    @classmethod
    def _take_schedules(cls, values: object) -> object:
        if not isinstance(values, Mapping) or not isinstance(values.get("fusion"), Mapping):
            return values
        fusion, learner = dict(values["fusion"]), values.get("learner", {"kind": "gradient"})
        schedules = fusion.pop("schedules", values.get("schedules"))
        if isinstance(schedules, Mapping):
            schedules = {name: rows for name, rows in schedules.items() if rows is not None}
        return {**values, "schedules": schedules, "fusion": fusion, "learner": learner}

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Settings:
        is_private = self.privacy.mode != "off" or self.validation.release_class != "governed"
        found = [*model_contradictions(self), *validation_contradictions(self, self.validation)]
        if self.learner.kind == "gradient" and self.features != FeatureSettings():
            found.append(
                "features must be as usual with learner gradient, which reads encoder and fusion; "
                f"others are read by learners of tables: {', '.join(LEARNERS)}"
            )
        refuse_contradictions([*found, *split_contradictions(self.cohort, is_private=is_private)])
        return self

    @model_validator(mode="after")
    def _schedule_is_one_of_the_fusions(self) -> Settings:
        if self.schedule not in self.schedules:
            raise ValueError(
                f"schedule must be one of {sorted(self.schedules)} with fusion {self.fusion.name}, "
                f"not '{self.schedule}'{nearest(self.schedule, self.schedules)}"
            )
        return self

    @model_validator(mode="after")
    def _encoder_is_named(self) -> Settings:
        if self.learner.kind != "gradient" and self.encoder.training != "frozen":
            raise ValueError(f"learner {self.learner.kind} needs encoder.training frozen")
        lacks_file = "" in (self.encoder.weights, self.encoder.sha256)
        if self.encoder.name != "none" and lacks_file and not self.encoder.starts_from_seed:
            raise ValueError(
                f"encoder {self.encoder.name} needs encoder.weights and encoder.sha256 "
                "(`osteofed-coordinator weights` packs a checkpoint and prints both)"
            )
        return self


class Patience(BaseModel):
    """How many sites must take part, and how long they are waited for.

    Attributes:
        quorum: share of the training sites without which a round stops.
        round_deadline_s: seconds for the whole answer.
        liveness_s: seconds for a node that is offline.
        poll_s: seconds between two looks.
        reply_quantum_s: seconds, in multiples of which after its request an answer leaves a site; 0: at
            once.
    """

    model_config = FROZEN

    quorum: float = Field(gt=0, le=1)
    round_deadline_s: float = Field(gt=0)
    liveness_s: float = Field(gt=0)
    poll_s: float = Field(gt=0)
    reply_quantum_s: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _is_in_time(self) -> Patience:
        if 2 * self.reply_quantum_s > self.round_deadline_s:
            raise ValueError(
                f"reply_quantum_s must be at most half of round_deadline_s, {self.round_deadline_s:g}, "
                f"so that a late answer is in time, not {self.reply_quantum_s:g}"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_none(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        # a plan of before, when there was none, keeps its hash
        return {name: each for name, each in write(self).items() if name != "reply_quantum_s" or each}


class PlanSettings(ModelSettings):
    """What the stages of a plan share, every value resolved: nothing in it is null.

    Attributes:
        delta: δ of every ε in the plan.
        caps: limits on what enters a sum.
        patience: how long sites are waited for.
        engine: where the programs run.
    """

    delta: float = Field(gt=0, lt=0.01)
    caps: Caps
    patience: Patience
    engine: EngineSettings

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> PlanSettings:
        refuse_contradictions(model_contradictions(self))
        return self


# Settings of a model with the limits of its patients, asked for or planned.
AnySettings = Settings | PlanSettings


def read_settings(
    values: Mapping[str, object], *, shipped: Mapping[str, object] | None = None
) -> Settings:
    """Validate a resolved configuration.

    Args:
        values: groups of settings, as YAML has them.
        shipped: the same choices of files without any value changed, where it is known.

    Raises:
        SettingsError: anything is unknown, missing, out of range or not used; all mistakes in one text.
            What cannot be private, a learner or a setting, keeps its own code where it is all there is.
    """
    lines = list(list_unused(values, groups=_GROUPS_OF_GRADIENTS, shipped=shipped))
    n_unused = len(lines)
    refusals: list[SettingsError] = []

    def advice(name: str) -> str:
        refusal = refusal_of(name)
        if refusal is None:
            return ""
        refusals.append(refusal)
        return f"{refusal.fact} ({refusal.code}); {refusal.hint}"

    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        lines += list_mistakes(
            error, whole="settings", content=values, shows_values=True, model=Settings, advice=advice
        )
    else:
        if not lines:
            return settings
    if len(refusals) == len(lines) and len({refusal.code for refusal in refusals}) == 1:
        raise refusals[0]
    count = len(lines)
    if count == n_unused:
        raise SettingsError(
            "not-used-by-learner",
            f"{count} setting{'s are' if count > 1 else ' is'} set and not used:\n" + "\n".join(lines),
            hint="leave them out, or train the fusion by gradients: learner=gradient",
        )
    raise SettingsError(
        "invalid",
        f"{count} setting{'s are' if count > 1 else ' is'} not valid:\n" + "\n".join(lines),
        hint="correct them in configs/ or in the overrides; `--help` names the groups",
    )


_GROUPS_OF_GRADIENTS: Mapping[str, type[BaseModel]] = {
    "federation": FederationSettings,
    "privacy": PrivacySettings,
    "strategy": StrategySettings,
}
