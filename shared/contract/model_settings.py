"""What is learnt and by what model: task, cohort, encoder, fusion, and the limits of a patient.

Both what a coordinator asks for and what a plan carries hold these (``settings``). Imports the cohort
schema and the sources of features.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from shared.contract.encoder_names import EncoderName
from shared.exam.schema import MOST_EXAMS, MOST_FILMS, CohortSchema
from shared.exam.time_to_event import TimeToEventLabel
from shared.features.sources import FeatureSettings, FeatureSource
from shared.strict import FROZEN


class Grade(BaseModel):
    """A milder class beside a regression's endpoint.

    Attributes:
        name: as reports call it.
        threshold: who has a y at or below it, and no severer class, is of this class; with the endpoint
            above: at or above it.
        operating_point: output at or below which it is called; with the endpoint above: at or above.
    """

    model_config = FROZEN

    name: str
    threshold: float
    operating_point: float


class RegressionTask(BaseModel):
    """A number is predicted; how an error is weighed, and who counts as positive.

    The target is standardised by public constants, z = (y − target_mean)/target_sd. In the loss an exam
    weighs 1 + a·sigmoid((t − y)/s), divided by its mean over the public normal reference, with t
    ``loss_threshold``, a ``loss_emphasis`` and s ``loss_scale``.

    Attributes:
        target_unit: unit of y, as shown.
        target_mean: public mean of y, in its unit.
        target_sd: public standard deviation of y, in its unit.
        smooth_l1_beta: error, in standard deviations, at which the loss passes from square to linear.
        loss_threshold: t: exams below it weigh more.
        loss_emphasis: a: how much more they weigh; 0: all alike.
        loss_scale: s: over which range of y the weight rises.
        endpoint: name of the positive class in reports and policies.
        endpoint_threshold: who has a y at or below it is positive.
        endpoint_side: ``above``: who has a y at or above the threshold is positive.
        operating_point: output from which on, to that side, a patient is called positive, chosen on
            public data; left out: ``endpoint_threshold``.
        grades: milder classes, each threshold further from the endpoint than the one before.
        otherwise: name of the class beyond all thresholds.
    """

    model_config = FROZEN

    kind: Literal["regression"] = "regression"
    target_unit: str = ""
    target_mean: float = 0.0
    target_sd: float = Field(default=1.0, gt=0)
    smooth_l1_beta: float = Field(default=0.7, gt=0)
    loss_threshold: float = 0.0
    loss_emphasis: float = Field(default=0.0, ge=0)
    loss_scale: float = Field(default=0.05, gt=0)
    endpoint: str
    endpoint_threshold: float
    endpoint_side: Literal["below", "above"] = "below"
    operating_point: float
    grades: tuple[Grade, ...] = ()
    otherwise: str = "none"

    @model_validator(mode="after")
    def _grades_lead_away(self) -> RegressionTask:
        is_below = self.endpoint_side == "below"
        for name in ("threshold", "operating_point"):
            first = self.endpoint_threshold if name == "threshold" else self.operating_point
            cuts = [first, *(getattr(grade, name) for grade in self.grades)]
            if any((after <= cut) if is_below else (after >= cut) for cut, after in pairwise(cuts)):
                side = "above" if is_below else "below"
                raise ValueError(f"grades: each {name} must lie {side} the one before, not {cuts}")
        names = [self.endpoint, *(grade.name for grade in self.grades), self.otherwise]
        if len(set(names)) < len(names):
            raise ValueError(f"grades: every class needs a name of its own, not {names}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _reads_at_the_endpoint(cls, values: object) -> object:
        if isinstance(values, Mapping) and values.get("operating_point") is None:
            return {**values, "operating_point": values.get("endpoint_threshold")}
        return values


class ClassificationTask(BaseModel):
    """A class is predicted by cross-entropy; the score is the probability of ``positive_class``.

    Attributes:
        endpoint: name of the positive class in reports and policies.
        positive_class: class of the cohort's label whose probability is the score.
        operating_point: probability from which on a patient is called positive.
        link: from a model to probabilities. ``softmax``: a score for each class. ``odds``: one score of
            ordered classes, which moves the odds of each class against the one before it alike.
    """

    model_config = FROZEN

    kind: Literal["classification"] = "classification"
    endpoint: str
    positive_class: str
    operating_point: float = Field(default=0.5, gt=0, lt=1)
    link: Literal["softmax", "odds"] = "softmax"

    @model_serializer(mode="wrap")
    def _without_the_usual_link(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        # a plan of before, when there was no other, keeps its hash
        return {
            name: value
            for name, value in write(self).items()
            if name != "link" or self.link != "softmax"
        }


class SurvivalTask(BaseModel):
    """A time to event is predicted by its hazards; the score is the risk by the label's last edge.

    The loss of an exam is the negative log-likelihood of the intervals at risk, each with one softmax
    over nothing, the event and, where the label has one, a competing event.

    Attributes:
        endpoint: name of the event in reports and policies.
        operating_point: risk by the horizon from which on a patient is called.
    """

    model_config = FROZEN

    kind: Literal["survival"] = "survival"
    endpoint: str
    operating_point: float = Field(default=0.2, gt=0, lt=1)


TaskSettings = Annotated[
    RegressionTask | ClassificationTask | SurvivalTask, Field(discriminator="kind")
]


class EncoderSettings(BaseModel):
    """Image encoder. Frozen, its tokens are cached at the site; else it learns with the fusion.

    Tokens are scaled by public constants stored in the weights file.

    Attributes:
        name: architecture; ``none`` reads no film.
        training: ``frozen``: its weights stay. ``lora``: matrices added to its attention layers learn.
            ``blocks``: its last ``trained_blocks`` blocks learn. ``full``: every weight learns, from
            the run's seed where no file is named.
        trained_blocks: how many last blocks of a transformer learn, 0: all; what the others make of a
            film is computed once and cached at the site.
        lora_rank: r, rank of the added matrices.
        lora_alpha: the added matrices are scaled by ``lora_alpha``/r.
        lora_trains: ``both``: of the added B·A both learn. ``up``: only B; A stays as the seed drew it,
            so that a mean of weights over sites is a mean of the sites' changes.
        weights: safetensors file beside the configuration, or an absolute path at the coordinator.
        sha256: SHA-256 of that file; checked before it is read, and written into the plan.
        token_channels: width of an image token.
        token_grid: tokens along one side of a film.
    """

    model_config = FROZEN

    name: EncoderName
    training: Literal["frozen", "lora", "blocks", "full"] = "frozen"
    trained_blocks: int = Field(default=0, ge=0, le=64)
    lora_rank: int = Field(default=4, ge=1, le=64)
    lora_alpha: float = Field(default=4.0, gt=0, le=1024)
    lora_trains: Literal["both", "up"] = "both"
    weights: str = ""
    sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$")
    token_channels: int = Field(default=0, ge=0)
    token_grid: int = Field(default=0, ge=0)

    @property
    def starts_from_seed(self) -> bool:
        """Whether no file holds its first weights."""
        is_drawn = self.name == "resnet_gn" and self.training == "full"
        return is_drawn and not self.weights and not self.sha256

    @model_validator(mode="after")
    def _can_be_trained(self) -> EncoderSettings:
        # The others have batch normalisation; all of a transformer would drown in its own noise.
        transformers = ("dinov2_b", "dinov2_s", "standin_vit", "vit_s")
        able = {
            "lora": transformers,
            "blocks": transformers,
            "full": ("resnet_gn", "tiny"),
        }.get(self.training)
        if able is not None and self.name not in able:
            raise ValueError(
                f"training {self.training} must be of {' or '.join(able)}, not {self.name}"
            )
        if self.trained_blocks and self.training not in ("lora", "blocks"):
            raise ValueError(f"trained_blocks must be 0 with training {self.training}")
        if self.training == "blocks" and not self.trained_blocks:
            raise ValueError("trained_blocks must be ≥ 1 with training blocks, not 0")
        if self.lora_trains == "up" and self.training != "lora":
            raise ValueError(f"lora_trains must be both with training {self.training}")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_asked(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        # a plan of before, when these were not there, keeps its hash
        is_usual = {
            "trained_blocks": not self.trained_blocks,
            "lora_trains": self.lora_trains == "both",
        }
        return {name: value for name, value in write(self).items() if not is_usual.get(name)}


class CrossAttention(BaseModel):
    """Bidirectional cross-attention of image tokens and clinical tokens.

    Attributes:
        width: of a token inside; a multiple of ``heads``.
        layers: of attention.
        heads: of each attention.
        directions: ``both``; or only one: ``image_reads``, image tokens attend to clinical ones, or
            ``clinical_reads``, clinical tokens to image ones.
        head_hidden: width of the head's hidden layer; 0: the head is linear.
    """

    model_config = FROZEN

    name: Literal["cross_attention"] = "cross_attention"
    width: int = Field(default=16, ge=1, le=1024)
    layers: int = Field(default=3, ge=1, le=12)
    heads: int = Field(default=4, ge=1, le=16)
    directions: Literal["both", "image_reads", "clinical_reads"] = "both"
    head_hidden: int = Field(default=0, ge=0, le=4096)

    @property
    def image_reads(self) -> bool:
        """Whether image tokens attend to clinical tokens."""
        return self.directions != "clinical_reads"

    @property
    def clinical_reads(self) -> bool:
        """Whether clinical tokens attend to image tokens."""
        return self.directions != "image_reads"

    @model_serializer(mode="wrap")
    def _without_what_is_usual(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        # a plan of before, when these were not there, keeps its hash
        is_usual = {"directions": self.directions == "both", "head_hidden": not self.head_hidden}
        return {name: value for name, value in write(self).items() if not is_usual.get(name)}

    @model_validator(mode="after")
    def _heads_divide_width(self) -> CrossAttention:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        return self


class Concatenation(BaseModel):
    """Mean image token beside the clinical vector, one hidden layer.

    Attributes:
        hidden: width of the hidden layer.
    """

    model_config = FROZEN

    name: Literal["concatenation"] = "concatenation"
    hidden: int = Field(default=64, ge=1, le=4096)


class LinearHead(BaseModel):
    """A linear head on the mean image token, the clinical vector, or both.

    Attributes:
        name: ``linear`` reads both; the others read one.
    """

    model_config = FROZEN

    name: Literal["linear", "image_only", "clinical_only"]


# How image tokens and clinical tokens meet.
FusionSettings = Annotated[CrossAttention | Concatenation | LinearHead, Field(discriminator="name")]


class ModelSettings(BaseModel):
    """What every stage of a run shares: task, cohort and model.

    Attributes:
        experiment: name of the choice of settings, as shown in reports.
        is_synthetic: whether every patient of the roster's sites was generated; reports say so.
        is_simulated: whether the hospitals were played on one machine by whoever holds all their data;
            reports say so.
        seed: draws initial weights, trees and frequencies; never protective noise.
        device: ``auto`` takes a CUDA device where there is one.
        task: what is predicted.
        cohort: what an exam is.
        encoder: how a film becomes tokens.
        fusion: how films and clinical fields meet.
        features: what a learner of tables reads.
    """

    model_config = FROZEN

    experiment: str
    is_synthetic: bool = False
    is_simulated: bool = False
    seed: int = Field(default=1, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    task: TaskSettings
    cohort: CohortSchema
    encoder: EncoderSettings
    fusion: FusionSettings
    features: FeatureSettings = FeatureSettings()

    @property
    def reads_films(self) -> bool:
        """Whether an encoder or another source of features looks at films."""
        return self.encoder.name != "none" or bool(self.features.of_films)

    @property
    def reads_tokens(self) -> bool:
        """Whether the model takes the tokens of a frozen encoder as they are."""
        has_tokens = self.encoder.name != "none" and self.encoder.training == "frozen"
        return has_tokens and self.features.reads_token

    @property
    def encoders(self) -> tuple[EncoderSettings, ...]:
        """Every encoder that has a file: the run's own, then those of sources, each file once."""
        found: dict[str, EncoderSettings] = {}
        for each in (self.encoder, *map(self.encoder_of, self.features.of_films)):
            if each is not None and each.sha256:
                found.setdefault(each.sha256, each)
        return tuple(found.values())

    def encoder_of(self, source: FeatureSource) -> EncoderSettings | None:
        """The frozen encoder whose mean token or cells a source of films is; None of other sources."""
        if source.kind == "image":
            return self.encoder.model_copy(update={"token_grid": source.token_grid})
        if source.kind != "encoder":
            return None
        return EncoderSettings.model_validate(
            {
                "name": source.encoder,
                "weights": source.weights,
                "sha256": source.sha256,
                "token_channels": source.token_channels,
                "token_grid": source.token_grid,
            }
        )

    @property
    def looks_at_films(self) -> bool:
        """Whether what the model says depends on films: by its encoder, or by sources of features."""
        return self._takes_tokens or bool(self.features.of_films)

    @property
    def map_grid(self) -> int:
        """Places along each side of a film that can be hidden one by one, the whole of it among them.

        Tokens of the run's encoder, or cells of all sources of features; 0 where the model reads of a
        film what has no place, or places of several grids.
        """
        if not self.features.of_films:
            return self.encoder.token_grid if self._takes_tokens else 0
        reads_both = self._takes_tokens and self.features.reads_token
        return 0 if reads_both else self.features.cell_grid

    @property
    def _takes_tokens(self) -> bool:
        return self.encoder.name != "none" and self.fusion.name != "clinical_only"

    @model_serializer(mode="wrap")
    def _without_usual_features(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        # a plan of the usual features keeps the hash that it had before there were others
        is_usual = self.features == FeatureSettings()
        return {
            name: value for name, value in write(self).items() if name != "features" or not is_usual
        }


def follow_up_of(settings: ModelSettings) -> TimeToEventLabel | None:
    """The label of a time to event; None where something else is predicted."""
    label = settings.cohort.label
    return label if label.kind == "time_to_event" else None


class Caps(BaseModel):
    """Public limits on what enters a sum.

    Attributes:
        max_views: films of a patient, the first in a keyed order; every patient is computed with room
            for as many.
        max_exams: exams of a patient, likewise.
        weight_max: no weight of a network in a request may be beyond it: weights that no training
            reaches only serve to break arithmetic.
        state_max: likewise no number of a learner's state; a row's bound holds for any state.
    """

    model_config = FROZEN

    max_views: int = Field(ge=1, le=MOST_FILMS)
    max_exams: int = Field(ge=1, le=MOST_EXAMS)
    weight_max: float = Field(default=1000.0, gt=0, le=1e6)
    state_max: float = Field(default=1e12, gt=0, le=1e12)
