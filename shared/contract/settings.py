"""Every setting of a run, validated: the object that a plan carries by value.

YAML in ``configs/`` is composed by Hydra at the coordinator only, becomes one ``Settings`` here, and
from there on is passed as plain arguments. Anything a hospital must be able to judge (noise, clip
norm, rounds, architecture, preprocessing) is in it. Imports errors and the cohort schema only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from shared.errors import SettingsError
from shared.exam.schema import CohortSchema
from shared.strict import FROZEN, list_mistakes


class TaskSettings(BaseModel):
    """What is predicted and how an error is weighed.

    A regression target is standardised as z = (y − target_mean)/target_sd with public constants.
    ``loss_threshold`` t and ``loss_emphasis`` a, ``loss_scale`` s give each exam the weight
    1 + a·sigmoid((t − y)/s), divided by its mean over the public normal reference.
    ``endpoint_threshold``: in regression the positive class is y ≤ threshold. ``operating_point``: the
    output from which on a patient is called positive, chosen on public data; null means the endpoint's
    threshold (regression) or a probability of 0.5.
    ``positive_class``: in classification, the class whose probability is the score.
    """

    model_config = FROZEN

    kind: Literal["regression", "classification"]
    target_unit: str = ""
    target_mean: float = 0.0
    target_sd: float = Field(default=1.0, gt=0)
    smooth_l1_beta: float = Field(default=0.7, gt=0)
    loss_threshold: float = 0.0
    loss_emphasis: float = Field(default=0.0, ge=0)
    loss_scale: float = Field(default=0.05, gt=0)
    endpoint: str
    endpoint_threshold: float | None = None
    operating_point: float | None = None
    positive_class: str | None = None


class EncoderSettings(BaseModel):
    """Image encoder. Frozen, its tokens are cached at the site; else it learns with the fusion.

    ``weights`` names a safetensors file beside the configuration or an absolute path at the
    coordinator; ``sha256`` is checked before it is read and travels in the plan. Tokens are scaled by
    public constants stored in the weights file. ``training`` lora adds trainable matrices of
    ``lora_rank`` r, scaled by ``lora_alpha``/r, to attention layers; full trains every weight, and
    without a file starts from the run's seed.
    """

    model_config = FROZEN

    name: Literal["none", "tiny", "resnet34", "resnet_gn", "dinov2_s"]
    training: Literal["frozen", "lora", "full"] = "frozen"
    lora_rank: int = Field(default=4, ge=1, le=64)
    lora_alpha: float = Field(default=4.0, gt=0, le=1024)
    weights: str | None = None
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    token_channels: int = Field(default=0, ge=0)
    token_grid: int = Field(default=0, ge=0)

    @property
    def starts_from_seed(self) -> bool:
        """Whether no file holds its first weights."""
        is_drawn = self.name == "resnet_gn" and self.training == "full"
        return is_drawn and self.weights is None and self.sha256 is None

    @model_validator(mode="after")
    def _can_be_trained(self) -> EncoderSettings:
        # ResNet-34 has batch normalisation; all of DINOv2 would drown in its own noise.
        able = {"lora": ("dinov2_s",), "full": ("resnet_gn", "tiny")}.get(self.training)
        if able is not None and self.name not in able:
            raise ValueError(
                f"training {self.training} must be of {' or '.join(able)}, not {self.name}"
            )
        return self


class Schedule(BaseModel):
    """One row of the public table: steps and learning rate that suit an ε (never tuned on patients)."""

    model_config = FROZEN

    up_to_epsilon: float | None = None
    learning_rate: float = Field(gt=0, le=1e4)
    rounds: int = Field(ge=1)
    local_steps: int = Field(ge=1)


class FusionSettings(BaseModel):
    """How image tokens and clinical tokens meet.

    ``schedule``: rows by rising ``up_to_epsilon``; the row without one is for privacy off and above.
    """

    model_config = FROZEN

    name: Literal["cross_attention", "concatenation", "linear", "image_only", "clinical_only"]
    width: int = Field(default=16, ge=1, le=1024)
    layers: int = Field(default=3, ge=1, le=12)
    heads: int = Field(default=4, ge=1, le=16)
    hidden: int = Field(default=64, ge=1, le=4096)
    schedule: tuple[Schedule, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> FusionSettings:
        if self.name == "cross_attention" and self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        return self


class PrivacySettings(BaseModel):
    """Patient-level differential privacy, add/remove adjacency; ``off`` promises nothing formal.

    ``max_views`` and ``max_exams``: of one patient; every patient is computed with room for as many.
    ``noise_multiplier`` and ``update_norm_max`` are null in YAML and filled in when a plan is written.
    ``canaries``: of the audit register; half of them, drawn by each site, train beside its patients.
    """

    model_config = FROZEN

    mode: Literal["patient_dp", "off"]
    epsilon: float | None = Field(default=3.0, gt=0, le=50)
    delta: float = Field(default=1e-5, gt=0, lt=0.01)
    clip_norm: float = Field(default=0.5, gt=0, le=1e6)
    noise_multiplier: float | None = Field(default=None, ge=0, le=1e6)
    sample_rate: float = Field(default=1.0, gt=0, le=1)
    max_views: int = Field(default=4, ge=1, le=64)
    max_exams: int = Field(default=2, ge=1, le=64)
    update_norm_max: float | None = Field(default=None, gt=0, le=1e9)
    canaries: int = Field(default=0, ge=0, le=10_000)

    @model_validator(mode="after")
    def _has_a_target(self) -> PrivacySettings:
        if self.mode == "patient_dp" and self.epsilon is None:
            raise ValueError("patient_dp needs epsilon")
        if self.mode == "off" and (self.canaries or self.sample_rate < 1):
            raise ValueError("privacy off must have canaries 0 and sample_rate 1: it promises nothing")
        return self


class StrategySettings(BaseModel):
    """How the coordinator turns updates into new weights."""

    model_config = FROZEN

    name: Literal["fedavg", "fedprox", "fedadam", "median", "trimmed_mean"] = "fedavg"
    server_learning_rate: float = Field(default=1.0, gt=0)
    proximal_mu: float = Field(default=0.0, ge=0)
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    adam_beta2: float = Field(default=0.99, ge=0, lt=1)
    adam_tau: float = Field(default=1e-3, gt=0)
    trimmed_fraction: float = Field(default=0.2, ge=0, lt=0.5)
    tail_average: float = Field(default=0.5, ge=0, le=1)

    def n_averaged(self, rounds: int) -> int:
        """How many of the last ``rounds`` a release averages; at least one."""
        return max(1, math.ceil(self.tail_average * rounds))


class FederationSettings(BaseModel):
    """Rounds, quorum and the two notions of patience: liveness and the round's deadline.

    ``rounds``, ``local_steps`` and ``learning_rate`` are null in YAML: the fusion's public schedule
    fills them in when a plan is written.
    """

    model_config = FROZEN

    rounds: int | None = Field(default=None, ge=1, le=10_000)
    local_steps: int | None = Field(default=None, ge=1, le=10_000)
    learning_rate: float | None = Field(default=None, gt=0, le=1e4)
    quorum: float = Field(default=0.5, gt=0, le=1)
    round_deadline_s: float = Field(default=3600.0, gt=0)
    liveness_s: float = Field(default=300.0, gt=0)
    poll_s: float = Field(default=0.2, gt=0)


class ValidationSettings(BaseModel):
    """What a validation releases.

    ``score_low``/``score_high``/``bins`` are the public edges of the score histogram (probability in
    classification, predicted target in regression). Targets are clipped to [target_low, target_high]
    and errors to ±error_high before their sums leave. ``epsilon`` is the price per validation split.
    ``description_epsilon``: what it costs every labelled patient, besides training or validation, that
    the sites describe their cohorts (``shared.measure.description.rows``); null, and none is released.
    ``description_second_moments`` adds the products of every pair of variables.
    """

    model_config = FROZEN

    release_class: Literal["dp", "governed"] = "dp"
    epsilon: float = Field(default=3.0, gt=0, le=50)
    bins: int = Field(default=12, ge=4, le=64)
    score_low: float = 0.0
    score_high: float = 1.0
    target_low: float = 0.0
    target_high: float = 1.0
    error_high: float = Field(default=1.0, gt=0, le=1e9)
    minimum_cell: int = Field(default=10, ge=1)
    sensitivity_target: float = Field(default=0.85, gt=0, lt=1)
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
        for name, low, high in (
            ("score", self.score_low, self.score_high),
            ("target", self.target_low, self.target_high),
        ):
            if not -1e9 <= low < high <= 1e9:
                raise ValueError(f"{name}_low must be below {name}_high, both within 1e9")
        return self


class EngineSettings(BaseModel):
    """Where ServerApp and ClientApps run."""

    model_config = FROZEN

    name: Literal["local", "ray", "deployed"] = "local"
    superlink: str = "127.0.0.1:9092"


class Settings(BaseModel):
    """A whole run's settings, resolved. ``seed`` draws initial weights only, never protective noise."""

    model_config = FROZEN

    experiment: str
    seed: int = Field(default=1, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    task: TaskSettings
    cohort: CohortSchema
    encoder: EncoderSettings
    fusion: FusionSettings
    privacy: PrivacySettings
    strategy: StrategySettings
    federation: FederationSettings
    validation: ValidationSettings
    engine: EngineSettings

    @model_validator(mode="after")
    def _parts_fit(self) -> Settings:
        problems = []
        if self.task.kind == "regression" and self.cohort.label.kind == "class":
            problems.append("task.kind regression needs a bmd or number label, not class")
        if self.task.kind == "classification" and self.cohort.label.kind == "number":
            problems.append("task.kind classification needs a class or bmd label, not number")
        if self.task.kind == "regression" and self.task.endpoint_threshold is None:
            problems.append("task.endpoint_threshold is needed in regression")
        if self.task.kind == "classification" and self.task.positive_class is None:
            problems.append("task.positive_class is needed in classification")
        if self.encoder.name == "none" and self.fusion.name != "clinical_only":
            problems.append("encoder none needs fusion clinical_only")
        lacks_file = None in (self.encoder.weights, self.encoder.sha256)
        if self.encoder.name != "none" and lacks_file and not self.encoder.starts_from_seed:
            problems.append(
                f"encoder {self.encoder.name} needs encoder.weights and encoder.sha256 "
                "(`osteofed-coordinator weights` packs a checkpoint and prints both)"
            )
        if self.encoder.training != "frozen" and self.fusion.name == "clinical_only":
            problems.append(
                f"encoder.training {self.encoder.training} needs a fusion that reads films, "
                "not clinical_only"
            )
        if self.encoder.name != "none" and not self.cohort.views:
            problems.append(f"encoder {self.encoder.name} needs at least one view in the cohort")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def read_settings(values: Mapping[str, object]) -> Settings:
    """Validate a resolved configuration.

    Raises:
        SettingsError: anything is unknown, missing or out of range; all mistakes in one text.
    """
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        lines = list_mistakes(error, whole="settings", shows_values=True)
        count = len(lines)
        raise SettingsError(
            "invalid",
            f"{count} setting{'s are' if count > 1 else ' is'} not valid:\n" + "\n".join(lines),
            hint="correct them in configs/ or in the overrides; `--help` names the groups",
        ) from None
