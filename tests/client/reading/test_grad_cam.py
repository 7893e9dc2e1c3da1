"""Grad-CAM beside gradients by the map itself, and a learner's map beside its own weights."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from practice_plan import plan_of
from torch.nn.functional import interpolate

from client.reading.asking import make_scored
from client.reading.grad_cam import endpoint_score, grad_cam
from server.encoders.file import encoder_file
from server.federation.compose import compose_settings
from shared.contract.decision import decision_of
from shared.contract.release import Release
from shared.errors import IntakeError
from shared.model.build import build_model
from shared.model.encoders import Encoder, load_encoder
from shared.model.weights import flatten_weights, load_flat, trainable

DRAW = torch.Generator()
Clinical = tuple[torch.Tensor, torch.Tensor]


def released(*overrides: str) -> Release:
    """A release of random weights, of a gradient or of ridge on columns."""
    settings = compose_settings(overrides)
    plan, file = plan_of(settings, {"alder": 100, "birch": 100}), encoder_file(settings.encoder)
    model = build_model(plan.settings, generator_seed=1, encoder_file=file)
    draw = DRAW.manual_seed(2)
    with torch.no_grad():
        for _, weight in trainable(model):
            weight += 0.3 * torch.randn(weight.shape, generator=draw)
    record = SimpleNamespace(decision=decision_of(settings))
    return SimpleNamespace(plan=plan, record=record, weights=flatten_weights(model), encoder_file=file)


def exam_of(release: Release) -> tuple[torch.Tensor, Clinical]:
    films = torch.rand(2, 128, 128, generator=DRAW.manual_seed(3))
    k = len(release.plan.settings.cohort.fields)
    return films, (torch.zeros(1, 1, k), torch.ones(1, 1, k, dtype=torch.bool))


def refused(tokens: torch.Tensor) -> torch.Tensor:
    raise AssertionError("a model with a gradient is not asked by steps")


def map_by_gradient(release: Release, films: torch.Tensor, clinical: Clinical) -> np.ndarray:
    """Equations 1 and 2 of the paper, by autograd on the map: of the value, low being suspicious."""
    model = build_model(release.plan.settings, generator_seed=1, encoder_file=release.encoder_file)
    load_flat(model.eval(), release.weights)
    whole = hasattr(model, "encoder")
    encoder = model.encoder if whole else encoder_of(release)
    mapped = encoder.network(encoder.image_of(films[:, None])).detach().requires_grad_()
    tokens = encoder.standardise(mapped)[None]
    slots = torch.zeros(1, len(films), dtype=torch.int64)
    said = (model.head if whole else model)(tokens, slots, *clinical)[0, 0]
    place = release.record.decision.endpoint
    score = -said[0] if len(said) == 1 else said[place] - said.sum() / len(said)
    score.backward()
    alpha = mapped.grad.mean(dim=(2, 3), keepdim=True)
    speaks = torch.relu((alpha * mapped).sum(dim=1, keepdim=True)).detach()
    large = interpolate(speaks, size=films.shape[1:], mode="bilinear", align_corners=False)
    return (large / large.max())[:, 0].numpy()


def encoder_of(release: Release) -> Encoder:
    return load_encoder(release.plan.settings.encoder, release.encoder_file)


@pytest.mark.parametrize(
    "overrides",
    [
        ("fusion=linear",),
        ("fusion=cross_attention",),
        ("fusion=cross_attention", "encoder=standin_resnet"),
        ("experiment=bmd_classes", "learner=gradient", "fusion=concatenation"),
        ("experiment=resnet_gn", "fusion=linear"),
    ],
    ids=lambda overrides: " ".join(overrides),
)
def test_a_map_is_the_papers_by_gradients_of_the_map_itself(overrides: tuple[str, ...]) -> None:
    release = released(*overrides)
    films, clinical = exam_of(release)
    found = np.stack(grad_cam(release, films, refused, clinical))
    expected = map_by_gradient(release, films, clinical)
    assert found.max() == pytest.approx(1.0)
    assert np.abs(found - expected).max() < 1e-4


def test_a_learners_map_is_its_weights_times_the_encoders_channels() -> None:
    release = released("learner=second_moments", "fusion=linear")
    films, clinical = exam_of(release)
    encoder, scored = encoder_of(release), make_scored(release_with_ridge(release))

    def outputs_of(tokens: torch.Tensor) -> torch.Tensor:
        return scored(tokens, *(each.expand(len(tokens), 1, -1) for each in clinical))

    found = np.stack(grad_cam(release, films, outputs_of, clinical))
    mapped = encoder.map_films(films[:, None])
    # the columns of a row begin with the mean token's channels; a low value is suspicious
    weights = torch.from_numpy(ridge_of(release)[1 : 1 + mapped.shape[1]]).float()
    speaks = torch.relu(-torch.einsum("c,vchw->vhw", weights / encoder.channel_sd, mapped))[:, None]
    large = interpolate(speaks, size=films.shape[1:], mode="bilinear", align_corners=False)
    assert np.abs(found - (large / large.max())[:, 0].numpy()).max() < 1e-3


def ridge_of(release: Release) -> np.ndarray:
    """An offset and a weight for each column."""
    return np.random.default_rng(4).normal(0, 0.05, 1 + len(columns_of(release)))


def columns_of(release: Release) -> tuple[object, ...]:
    from shared.stages.learner import table_task

    return table_task(release.plan.settings, 0.0).columns


def release_with_ridge(release: Release) -> Release:
    return SimpleNamespace(**{**vars(release), "weights": ridge_of(release)})


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("fusion=cross_attention", "encoder=standin_vit"), "standin_vit is a transformer"),
        (("encoder=none", "fusion=clinical_only"), "reads no encoder's map"),
    ],
)
def test_a_release_without_convolutions_is_refused_with_what_to_use_instead(
    overrides: tuple[str, ...], said: str
) -> None:
    release = released(*overrides)
    with pytest.raises(IntakeError, match=said) as caught:
        grad_cam(release, *exam_of(release)[:1], refused, exam_of(release)[1])
    assert caught.value.code == "intake.no-gradient-map"
    assert "--map occlusion" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda tokens: tokens.double().sum(dim=(1, 2)).floor().sum(dim=1)[:, None], "by steps"),
        (lambda tokens: torch.zeros(len(tokens), 1, dtype=torch.float64), "does not change"),
    ],
)
def test_a_learner_whose_score_has_no_slope_is_refused(answer: object, said: str) -> None:
    release = released("learner=second_moments", "fusion=linear")
    films, clinical = exam_of(release)
    with pytest.raises(IntakeError, match=said):
        grad_cam(release, films, answer, clinical)


def test_what_speaks_for_the_endpoint_is_a_value_a_class_above_all_or_log_odds() -> None:
    low = decision_of(compose_settings())
    assert endpoint_score(torch.tensor([[0.6]]), low).tolist() == pytest.approx([-0.6])
    classes = decision_of(compose_settings(["experiment=bmd_classes"]))
    logits = torch.tensor([[1.0, 4.0, 1.0]])
    expected = float(logits[0, classes.endpoint]) - 2.0
    assert endpoint_score(logits, classes).tolist() == pytest.approx([expected])
    assert endpoint_score(logits + 7.0, classes).tolist() == pytest.approx([expected])
    risk = decision_of(compose_settings(["experiment=hip_fracture"]))
    n_events = sum(place == risk.endpoint for place in risk.counts_as)
    chances = torch.full((1, len(risk.counts_as)), 0.05, dtype=torch.float64)
    odds = 0.05 * n_events / (1 - 0.05 * n_events)
    assert endpoint_score(chances.log(), risk).tolist() == pytest.approx([np.log(odds)])
