"""All that a finished run has to say, frozen and versioned: ``report.json`` is this, and nothing more.

Built by the coordinator from the plan, the journal and the sites' replies; read by the report, by
tables in a terminal and by other programs. Holds no patient's value. Imports measures only.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, model_validator

from server.report.pooling import PooledEffect
from shared.measure.description.reading import Description
from shared.measure.table.endpoint import Curves
from shared.privacy.accountant import NO_ACCOUNTANT
from shared.strict import FROZEN
from shared.sums.estimate import Estimate, Measures

POOLED = "pooled"
NO_GUARANTEE = "no formal privacy guarantee"
Side = Literal["≤", "≥"]
ValidationKind = Literal["internal", "external", "prospective"]


class Task(BaseModel):
    """What was predicted.

    Attributes:
        kind: a number, a class, or a time to event.
        target: name of the label.
        target_unit: its unit.
        endpoint: the positive class.
        endpoint_rule: in words, for example ``BMD ≤ 0.558 g/cm2``.
        operating_point: output from which on the endpoint is called.
        side: of the operating point, on which it is called.
        sensitivity_target: what somebody promised there; 0: nobody did.
        is_graded: whether noised tables rank ordered classes by one score, which is no probability.
    """

    model_config = FROZEN

    kind: Literal["regression", "classification", "survival"]
    target: str
    target_unit: str = ""
    endpoint: str
    endpoint_rule: str
    side: Side
    operating_point: float
    sensitivity_target: float
    is_graded: bool = False


class MissingUpdate(BaseModel):
    """A site whose update did not count in a round.

    Attributes:
        site: the site.
        round: of training.
        code: of the reason.
    """

    model_config = FROZEN

    site: str
    round: int = Field(ge=1)
    code: str


class SiteResult(BaseModel):
    """One hospital's part in the run. Bytes are those of message payloads.

    Attributes:
        site: the site.
        role: in the run.
        is_required: whether the run is complete only with this site's results.
        declared_patients: as published.
        weight: share in the aggregation.
        rounds_took_part: rounds in which its update counted.
        bytes_sent: by the site.
        bytes_received: by the site.
        is_offline: whether it handed its table over in a file.
        kept: what a robust rule kept of its totals, over an equal share (1); null: no such rule.
    """

    model_config = FROZEN

    site: str
    role: Literal["training", "external"]
    is_required: bool
    declared_patients: int
    weight: float
    rounds_took_part: int
    bytes_sent: int
    bytes_received: int
    is_offline: bool = False
    kept: float | None = None


class RoundResult(BaseModel):
    """One round: who was asked, and who took part.

    Attributes:
        round: of training, from 1 on.
        asked: sites.
        took_part: sites whose update counted.
        missing: sites whose update did not.
        weight_share: share of weight that took part.
        duration_s: seconds.
    """

    model_config = FROZEN

    round: int
    asked: tuple[str, ...]
    took_part: tuple[str, ...]
    missing: tuple[MissingUpdate, ...] = ()
    weight_share: float
    duration_s: float


class TrainingResult(BaseModel):
    """What a round's total of a site is, how long in each round, and how the sites' are put together.

    Attributes:
        total: what a site sent: changes of the weights, sums of gradients, or sums of rows.
        combined: by each site's share of the plan (``shares``), by a robust rule that counts sites
            ``alike``, or ``added`` over their patients. Only shares are weights.
        lengths: numbers of a total, by round.
    """

    model_config = FROZEN

    total: Literal["changes", "gradients", "rows"]
    combined: Literal["shares", "alike", "added"]
    lengths: tuple[int, ...] = ()

    @property
    def has_weights(self) -> bool:
        """Whether a site's weight had a part in the result."""
        return self.combined == "shares"


class PrivacyResult(BaseModel):
    """What one patient of a site has been promised. Every ε comes with all its qualifiers; null with
    privacy off.

    Attributes:
        site: the site.
        mode: of training.
        unit: whom the guarantee is for.
        adjacency: which two cohorts are told apart.
        mechanism: what was noised, in words.
        accountant: what added the costs up.
        delta: δ of every ε here.
        training_epsilon: of training alone; 0: no part in it.
        run_epsilon: of this run for the dearest patient: training or validation, and description.
        lifetime_epsilon: of all runs, by the ledger's filter.
        cap_epsilon: most that all runs together may cost.
        left_epsilon: until the cap.
    """

    model_config = FROZEN

    site: str
    mode: Literal["patient_dp", "off"]
    unit: Literal["patient"] = "patient"
    adjacency: Literal["add/remove"] = "add/remove"
    mechanism: str
    accountant: str
    delta: float
    training_epsilon: float | None = None
    run_epsilon: float | None = None
    lifetime_epsilon: float | None = None
    cap_epsilon: float | None = None
    left_epsilon: float | None = None

    @model_validator(mode="after")
    def _is_either_bounded_or_off(self) -> PrivacyResult:
        if (self.mode == "off") != (self.training_epsilon is None):
            raise ValueError("training_epsilon must be given with patient_dp and only then")
        return self

    @property
    def statement(self) -> str:
        """The promise in words."""
        if self.training_epsilon is None:
            return NO_GUARANTEE
        if self.training_epsilon == 0:
            return "no part in training"
        return f"ε = {self.training_epsilon:.2f} per {self.unit} for training"


class ValidationResult(BaseModel):
    """A release measured at one site, or over the pooled tables of several.

    Attributes:
        kind: of validation.
        site: the site, or ``pooled``.
        status: ``measured``; ``not-applicable``: no labelled patients; ``waiting``: the day of
            the lock has not come; ``missing``: no valid reply.
        code: of the reason, where it is missing.
        release_class: of the table.
        epsilon: its price; null where governed: then the numbers are exact, approved by a named person,
            and carry no DP promise.
        is_offline: the hospital wrote its table into a file; it is in no pooled row.
        measures: figures with their intervals.
        untrained_r2: R² of the head as it starts: it predicts the public mean for everybody. Null of
            noised tables: a ratio of noisy sums without an interval says nothing.
    """

    model_config = FROZEN

    kind: ValidationKind
    site: str
    status: Literal["measured", "not-applicable", "waiting", "missing"]
    code: str = ""
    release_class: Literal["dp", "governed"]
    epsilon: float | None = None
    is_offline: bool = False
    measures: Measures | None = None
    untrained_r2: Estimate | None = None

    @model_validator(mode="after")
    def _has_measures_when_measured(self) -> ValidationResult:
        if (self.status == "measured") != (self.measures is not None):
            raise ValueError("measures must be given when status is measured and only then")
        return self

    @property
    def is_pooled(self) -> bool:
        """Whether this row sums several sites' tables."""
        return self.site == POOLED


class DescriptionResult(BaseModel):
    """Who the labelled patients of one site are, or of several pooled.

    Attributes:
        site: as of a validation.
        status: as of a validation.
        code: as of a validation.
        release_class: as of a validation.
        epsilon: as of a validation.
        description: counts, means and shares of the clinical fields.
    """

    model_config = FROZEN

    site: str
    status: Literal["measured", "not-applicable", "missing"]
    code: str = ""
    release_class: Literal["dp", "governed"]
    epsilon: float | None = None
    description: Description | None = None

    @model_validator(mode="after")
    def _has_figures_when_measured(self) -> DescriptionResult:
        if (self.status == "measured") != (self.description is not None):
            raise ValueError("description must be given when status is measured and only then")
        return self

    @property
    def is_pooled(self) -> bool:
        """Whether this row sums several sites' tables."""
        return self.site == POOLED


class FurtherResult(BaseModel):
    """One further measure at a site, or pooled.

    Attributes:
        stage: of the plan.
        site: as of a validation.
        status: as of a validation.
        code: as of a validation.
        release_class: as of a validation.
        epsilon: as of a validation.
        figures: with their intervals, by name.
        remark: what is to be said of them in words; empty: nothing.
    """

    model_config = FROZEN

    stage: str
    site: str
    status: Literal["measured", "not-applicable", "waiting", "missing"]
    code: str = ""
    release_class: Literal["dp", "governed"]
    epsilon: float | None = None
    figures: dict[str, Estimate] | None = None
    remark: str = ""

    @model_validator(mode="after")
    def _has_figures_when_measured(self) -> FurtherResult:
        if (self.status == "measured") != (self.figures is not None):
            raise ValueError("figures must be given when status is measured and only then")
        return self


class CurveResult(BaseModel):
    """The endpoint's curves from the pooled tables of one kind of validation.

    Attributes:
        kind: of validation.
        sites: whose tables these are.
        curves: of the endpoint.
    """

    model_config = FROZEN

    kind: ValidationKind
    sites: tuple[str, ...]
    curves: Curves


class MeasuredRun(BaseModel):
    """The earlier run whose release was measured, where this run trained nothing.

    Attributes:
        run: its name.
        plan_sha256: hash of its plan.
    """

    model_config = FROZEN

    run: str
    plan_sha256: str


class Results(BaseModel):
    """A finished run: it trained a release (``training``) or measured another's (``measured``).

    Attributes:
        version: of this format.
        run: its name.
        experiment: the choice of settings.
        task: what was predicted.
        started_utc: when the run began.
        finished_utc: when its last part was done.
        duration_s: seconds.
        plan_sha256: hash of the plan.
        code_sha256: hash of the code.
        release_sha256: hash of the release.
        lock_sha256: hash of its lock; null: not locked.
        training: what was trained.
        measured: whose release was measured.
        sites: each hospital's part.
        rounds: of training.
        privacy: what was promised, by site.
        validation: a row per kind and site, and of all pooled.
        further: rows of what else tables and further measures say.
        curves: of pooled tables.
        description: a row per site, and one of all pooled; empty where the plan releases none.
        site_auc: random-effects mean of the sites' internal AUCs; of three sites at least.
        site_auc_without: the same with each site left out.
        is_synthetic: whether every patient was generated.
        is_simulated: whether the hospitals were played on one machine.
        limits: of what is reported, in words.
    """

    model_config = FROZEN

    # 3: a run may have measured the release of an earlier one.
    version: Literal[3] = 3
    run: str
    experiment: str
    task: Task
    started_utc: str
    finished_utc: str
    duration_s: float
    plan_sha256: str
    code_sha256: str
    release_sha256: str
    lock_sha256: str | None = None
    training: TrainingResult | None
    measured: MeasuredRun | None = None
    sites: tuple[SiteResult, ...]
    rounds: tuple[RoundResult, ...]
    privacy: tuple[PrivacyResult, ...]
    validation: tuple[ValidationResult, ...]
    further: tuple[FurtherResult, ...] = ()
    curves: tuple[CurveResult, ...] = ()
    description: tuple[DescriptionResult, ...] = ()
    site_auc: PooledEffect | None = None
    site_auc_without: dict[str, PooledEffect] = {}
    is_synthetic: bool = False
    is_simulated: bool = False
    limits: tuple[str, ...] = ()

    @property
    def is_noised(self) -> bool:
        """Whether anything of the run was noised; else no ε is spoken of."""
        return any(row.accountant != NO_ACCOUNTANT for row in self.privacy)
