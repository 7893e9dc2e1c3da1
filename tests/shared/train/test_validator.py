"""Models that mix patients, or that would not learn and not say so, are refused before a run."""

from __future__ import annotations

import pytest
import torch
from practice_patients import CHANNELS, practice_loss, practice_model, practice_patients
from torch import Tensor, nn

from shared.errors import PrivacyError
from shared.model.weights import flatten_weights
from shared.train.validator import validate_model


class Wrapped(nn.Module):
    """A patient's pooled image tokens through the given layers to one output for each exam."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers, nn.Linear(CHANNELS, 1))

    def forward(self, tokens: Tensor, film_exam: Tensor, fields: Tensor, field_mask: Tensor) -> Tensor:
        pooled = tokens.mean(dim=(-3, -2)).reshape(-1, CHANNELS)  # [b,c]
        output = self.layers(pooled).reshape(*fields.shape[:-2], 1, 1)
        return output.expand(*fields.shape[:-1], 1)


class LowRank(nn.Module):
    """B·A beside a frozen layer: A has no gradient while B is zero."""

    def __init__(self, *, is_broken: bool) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.ones(2, CHANNELS))
        self.up = nn.Parameter(torch.zeros(1, 2))
        self.is_broken = is_broken

    def forward(self, tokens: Tensor, film_exam: Tensor, fields: Tensor, field_mask: Tensor) -> Tensor:
        down = self.down.detach() if self.is_broken else self.down
        output = tokens.mean(dim=(-3, -2)) @ down.T @ self.up.T  # [b,1]
        return output.unsqueeze(-2).expand(*fields.shape[:-1], 1)


def check(model: nn.Module) -> None:
    validate_model(model, practice_patients(6), loss=practice_loss())


@pytest.mark.parametrize("fusion", ["cross_attention", "concatenation", "linear", "clinical_only"])
def test_every_fusion_is_fit_from_its_zero_head_and_left_unchanged(fusion: str) -> None:
    model = practice_model(fusion, is_awake=False)
    before = flatten_weights(model)
    check(model)
    assert (flatten_weights(model) == before).all()


def test_a_trainable_batch_norm_is_refused_also_in_eval() -> None:
    with pytest.raises(PrivacyError, match="must be frozen"):
        check(Wrapped(nn.BatchNorm1d(CHANNELS)).eval())


def test_a_frozen_batch_norm_left_in_train_is_refused() -> None:
    norm = nn.BatchNorm1d(CHANNELS)
    norm.requires_grad_(False)
    with pytest.raises(PrivacyError, match="averages over patients") as caught:
        check(Wrapped(norm))
    assert caught.value.code == "privacy.unfit-model"


def test_a_frozen_batch_norm_in_eval_passes() -> None:
    norm = nn.BatchNorm1d(CHANNELS)
    norm.requires_grad_(False)
    check(Wrapped(norm).eval())


def test_a_batch_norm_without_running_statistics_is_refused_even_in_eval() -> None:
    norm = nn.BatchNorm1d(CHANNELS, affine=False, track_running_stats=False)
    with pytest.raises(PrivacyError, match="averages over patients"):
        check(Wrapped(norm).eval())


def test_active_dropout_is_refused_and_all_problems_come_together() -> None:
    with pytest.raises(PrivacyError) as caught:
        check(Wrapped(nn.Dropout(0.1), nn.BatchNorm1d(CHANNELS)))
    for word in ("Dropout", "averages over patients", "must be frozen"):
        assert word in caught.value.fact


def test_a_low_rank_pair_passes_in_three_steps_and_a_dead_half_is_named() -> None:
    check(LowRank(is_broken=False))
    with pytest.raises(PrivacyError, match="down gets no gradient within 3 steps"):
        check(LowRank(is_broken=True))
