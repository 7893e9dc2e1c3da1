"""Log-likelihoods of classes from logits against the sums written out, interval by interval."""

from __future__ import annotations

import numpy as np
import torch
from practice_follow_up import ALONE, FOLLOWED
from torch import Tensor, nn

from server.federation.compose import compose_settings
from shared.exam.time_to_event import TimeToEventLabel
from shared.model.build import build_model
from shared.model.hazards import Hazards
from shared.train.loss import exam_loss
from shared.train.public_batch import validate_settings_model


class Given(nn.Module):
    """A fusion whose logits are what its fields are."""

    def forward(self, tokens: Tensor, film_exam: Tensor, fields: Tensor, field_mask: Tensor) -> Tensor:
        return fields


def by_hand(logits: np.ndarray, place: int, label: TimeToEventLabel) -> float:
    """log P of a class, one interval after the other. Shapes: logits [k,r]."""
    k, r = logits.shape
    chances = [np.exp([0.0, *row]) / np.exp([0.0, *row]).sum() for row in logits + label.start_logit()]
    if place >= r * k:
        return float(sum(np.log(each[0]) for each in chances[: place - r * k]))
    cause, last = divmod(place, k)
    return float(sum(np.log(each[0]) for each in chances[:last]) + np.log(chances[last][1 + cause]))


def test_every_class_is_as_likely_as_its_intervals_make_it() -> None:
    for label in (ALONE, FOLLOWED):
        k, r = label.n_intervals, len(label.causes)
        logits = np.random.default_rng(1).normal(size=(3, 2, k, r))
        fields = torch.from_numpy(logits).float().flatten(-2)
        found = Hazards(Given(), label)(*[torch.zeros(0)] * 2, fields, torch.zeros(0))
        expected = [
            [[by_hand(exam, place, label) for place in range(len(label.classes))] for exam in patient]
            for patient in logits
        ]
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_loss_of_an_exam_is_the_negative_log_likelihood_of_its_class() -> None:
    task = compose_settings(["experiment=hip_fracture"]).task
    likely = torch.log(torch.tensor([[[0.2, 0.5, 0.9]]]))
    assert torch.allclose(exam_loss(likely, torch.tensor([[1.0]]), task), torch.tensor([[0.6931472]]))


def test_an_exam_of_which_nothing_is_known_but_that_time_began_costs_nothing() -> None:
    settings = compose_settings(["experiment=hip_fracture"])
    model = Hazards(Given(), FOLLOWED)
    fields = torch.randn(1, 1, 10, requires_grad=True)
    likely = model(*[torch.zeros(0)] * 2, fields, torch.zeros(0))
    free_for_0 = torch.tensor([[float(FOLLOWED.classes.index("free for 0"))]])
    loss = exam_loss(likely, free_for_0, settings.task).sum()
    loss.backward()
    assert loss.item() == 0.0
    assert not fields.grad.any()


def test_any_fusion_can_predict_a_time_to_event_with_one_gradient_per_patient() -> None:
    for fusion in ("linear", "concatenation", "cross_attention", "image_only", "clinical_only"):
        settings = compose_settings(["experiment=hip_fracture", f"fusion={fusion}"])
        validate_settings_model(settings)
        model = build_model(settings, 1)
        assert isinstance(model, Hazards)
        assert model.fusion.head.out_features == 2 * 5
