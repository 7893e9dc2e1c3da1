"""Which fields a release's films attend to: the fusion's own attention, of an exam, by name."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from practice_plan import plan_of

from client.reading.field_attention import attend_fields
from server.federation.compose import compose_settings
from shared.contract.release import Release
from shared.model.build import build_model
from shared.model.fusion import CrossAttentionFusion
from shared.model.weights import flatten_weights, trainable


def released(*overrides: str) -> tuple[Release, torch.nn.Module]:
    """A release of random weights, and its model."""
    plan = plan_of(compose_settings(overrides), {"alder": 100, "birch": 100})
    model = build_model(plan.settings, generator_seed=1)
    with torch.no_grad():
        for _, weight in trainable(model):
            weight += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2))
    release = SimpleNamespace(plan=plan, weights=flatten_weights(model), encoder_file=None)
    return release, model


def exam_of(release: Release) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    settings, draw = release.plan.settings, torch.Generator().manual_seed(3)
    k, encoder = len(settings.cohort.fields), settings.encoder
    tokens = torch.randn(1, 2, encoder.token_grid**2, encoder.token_channels, generator=draw)
    mask = torch.ones(1, 1, k, dtype=torch.bool)
    mask[..., 2] = False
    return tokens, torch.zeros(1, 1, k), mask


def test_shares_are_those_of_the_released_weights_by_name_and_the_largest_first() -> None:
    release, model = released("fusion=cross_attention")
    tokens, fields, mask = exam_of(release)
    found = attend_fields(release, tokens, fields, mask)
    assert isinstance(model, CrossAttentionFusion)
    with torch.no_grad():
        expected = model.field_attention(tokens, torch.zeros(1, 2, dtype=torch.int64), fields, mask)
    names = [field.name for field in release.plan.settings.cohort.fields]
    for name, share in zip(names, expected[0, 0].tolist(), strict=True):
        assert found.get(name, 0.0) == pytest.approx(share)
    assert names[2] not in found, "a missing field has nothing to attend to"
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert sum(found.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "overrides",
    [
        ("fusion=linear",),
        ("fusion=cross_attention", "fusion.directions=clinical_reads"),
        ("learner=second_moments", "fusion=cross_attention"),
    ],
)
def test_a_release_whose_films_attend_to_no_field_says_nothing(overrides: tuple[str, ...]) -> None:
    release, _ = released(*overrides)
    assert attend_fields(release, *exam_of(release)) == {}


def test_an_encoder_that_learns_reads_the_films_first() -> None:
    release, model = released("experiment=resnet_gn", "fusion=cross_attention")
    films = torch.rand(1, 2, 128, 128, generator=torch.Generator().manual_seed(4))
    _, fields, mask = exam_of(release)
    [fusion] = [part for part in model.modules() if isinstance(part, CrossAttentionFusion)]
    film_exam = torch.zeros(1, 2, dtype=torch.int64)
    with torch.no_grad():
        tokens = model.eval().tokens_of(films, film_exam)
        expected = fusion.field_attention(tokens, film_exam, fields, mask)[0, 0].max().item()
    found = attend_fields(release, films, fields, mask)
    assert next(iter(found.values())) == pytest.approx(expected, rel=1e-5)
