"""From settings to a model with its initial weights: plain functions over data.

Owns which fusion a name means and how weights start; equal settings and seed give equal weights on
every machine. Imports settings, the fusions and end-to-end training.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn

from shared.contract.model_settings import CrossAttention, ModelSettings, follow_up_of
from shared.errors import SettingsError
from shared.model.clinical_tokens import ClinicalTokens
from shared.model.end_to_end import EndToEnd, start_encoder
from shared.model.fusion import CrossAttentionFusion, OneScore, PooledFusion
from shared.model.hazards import Hazards
from shared.model.partial import count_frozen


def count_outputs(settings: ModelSettings) -> int:
    """o: 1 for regression, else the number of the label's classes."""
    label = settings.cohort.label
    if settings.task.kind == "regression" or label.kind == "number":
        return 1
    return len(label.classes)


def build_model(
    settings: ModelSettings, generator_seed: int, encoder_file: Path | None = None
) -> nn.Module:
    """The trainable model of a run: a fusion on cached tokens, or an encoder and a fusion on films.

    Args:
        settings: names the fusion, its size, the fields, the tokens' shape and what of the encoder is
            trained.
        generator_seed: draws the initial weights; the fusion's last layer and the change that low-rank
            layers make start at zero.
        encoder_file: this machine's copy of the plan's encoder; not used when that stays frozen.

    Shapes: forward(tokens [b,s,t,c], film_exam [b,s], fields [b,u,k], field_mask [b,u,k]) -> [b,u,o];
        films [b,s,h,w] in place of tokens unless the encoder is frozen.

    Raises:
        SettingsError: the fusion cannot work with these tokens, or the encoder's file was not given.
        WeightsError: the file is not the plan's.
    """
    fusion = _shape_model(settings, outputs=_count_head(settings))
    generator = torch.Generator().manual_seed(generator_seed)
    _draw_weights(fusion, generator)
    read = _read_head(fusion, settings)
    if settings.encoder.training == "frozen":
        return read
    encoder = start_encoder(settings.encoder, encoder_file, generator)
    return EndToEnd(encoder, read, frozen_blocks=count_frozen(encoder, settings.encoder))


def _shape_model(settings: ModelSettings, *, outputs: int) -> CrossAttentionFusion | PooledFusion:
    fusion, encoder, fields = settings.fusion, settings.encoder, settings.cohort.fields
    channels = encoder.token_channels
    if fusion.name != "clinical_only" and not channels:
        raise SettingsError(
            "no-tokens",
            f"fusion {fusion.name} needs encoder.token_channels ≥ 1, not {channels}",
            hint="choose an encoder, or fusion=clinical_only",
        )
    if fusion.name == "cross_attention":
        _require_several_keys(fusion, encoder.token_grid, len(fields))
        return CrossAttentionFusion(
            fields,
            channels=channels,
            grid=encoder.token_grid,
            width=fusion.width,
            layers=fusion.layers,
            heads=fusion.heads,
            outputs=outputs,
            image_reads=fusion.image_reads,
            clinical_reads=fusion.clinical_reads,
            head_hidden=fusion.head_hidden,
        )
    return PooledFusion(
        () if fusion.name == "image_only" else fields,
        channels=0 if fusion.name == "clinical_only" else channels,
        hidden=fusion.hidden if fusion.name == "concatenation" else 0,
        outputs=outputs,
    )


def _has_one_score(settings: ModelSettings) -> bool:
    """Whether ordered classes are read from one score and its cuts."""
    return settings.task.kind == "classification" and settings.task.link == "odds"


def _count_head(settings: ModelSettings) -> int:
    """What the fusion's last layer gives: o, or one score, or a logit per interval and cause."""
    follow_up = follow_up_of(settings)
    if follow_up is not None:
        return follow_up.n_intervals * len(follow_up.causes)
    return 1 if _has_one_score(settings) else count_outputs(settings)


def _read_head(
    fusion: CrossAttentionFusion | PooledFusion, settings: ModelSettings
) -> CrossAttentionFusion | PooledFusion | OneScore | Hazards:
    """The fusion with its last layer read as the task's outputs."""
    follow_up = follow_up_of(settings)
    if follow_up is not None:
        return Hazards(fusion, follow_up)
    return OneScore(fusion, count_outputs(settings)) if _has_one_score(settings) else fusion


def _require_several_keys(fusion: CrossAttention, grid: int, n_fields: int) -> None:
    """Refuse attention over one key.

    Raises:
        SettingsError: a direction would have it.
    """
    if fusion.clinical_reads and grid < 2:
        raise SettingsError(
            "one-image-token",
            f"fusion cross_attention needs encoder.token_grid ≥ 2, not {grid}: softmax over one key is "
            "always 1",
            hint="keep the encoder's grid, or use fusion=linear on pooled tokens",
        )
    if fusion.image_reads and n_fields < 2:
        raise SettingsError(
            "one-clinical-field",
            f"fusion cross_attention needs at least 2 clinical fields, not {n_fields}: softmax over "
            "one key is always 1",
            hint="add fields to the cohort, or use fusion.directions=clinical_reads or fusion=linear",
        )


def _draw_weights(model: CrossAttentionFusion | PooledFusion, generator: torch.Generator) -> None:
    """Normal weights of variance 1/inputs, zero biases, zero head.

    A clinical token sums at most two embeddings (slope, intercept), whatever the columns.
    """
    embeddings = {id(module.embed) for module in model.modules() if isinstance(module, ClinicalTokens)}
    with torch.no_grad():
        for module in model.modules():
            if not isinstance(module, nn.Linear):
                continue
            inputs = 2 if id(module) in embeddings else module.in_features
            module.weight.normal_(0.0, 1.0 / math.sqrt(inputs), generator=generator)
            if module.bias is not None:
                module.bias.zero_()
        model.head.weight.zero_()
