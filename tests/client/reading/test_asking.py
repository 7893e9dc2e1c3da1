"""A release is asked of an exam's films as a cohort would hold them, with the exam's own values."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from client.reading import asking
from client.reading.asking import ask_exam, make_columns
from server.federation.compose import compose_settings
from shared.contract.decision import decision_of
from shared.train.film_columns import measure_films

RADIOMICS = ("features=radiomics", "encoder=none", "fusion=clinical_only", "learner=second_moments")


def test_films_are_measured_as_the_cohort_keeps_them() -> None:
    films = torch.rand(2, 3, 16, 16)
    settings = compose_settings(
        ["features=radiomics", "encoder=none", "fusion=clinical_only", "learner=second_moments"]
    )
    release = SimpleNamespace(plan=SimpleNamespace(settings=settings), encoders={})
    said = make_columns(release)(films, [None] * 3)
    kept = films[1].numpy().astype(np.float16)
    assert said.shape == (2, 3, 16)
    assert np.array_equal(said[1].numpy(), measure_films(kept, settings, {}.__getitem__))


def test_what_is_said_of_films_follows_a_change_in_them_and_of_tokens_stays_the_exams(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = compose_settings(RADIOMICS)
    record = SimpleNamespace(decision=decision_of(settings))
    release = SimpleNamespace(plan=SimpleNamespace(settings=settings), record=record, encoders={})

    def scored(tokens: torch.Tensor, fields: torch.Tensor, *said: torch.Tensor) -> torch.Tensor:
        assert fields.shape == (len(tokens), 1, 1)
        return said[1].double().sum(dim=(1, 2))[:, None] + fields[:, 0, :1]

    monkeypatch.setattr(asking, "make_scored", lambda _: scored)
    monkeypatch.setattr(asking, "make_seen", lambda _: lambda views: views)
    stack = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(1))
    asked = ask_exam(release, stack, (torch.ones(1, 1, 1), torch.ones(1, 1, 1)), masks=[None])
    whole = asked.outputs_of(stack[None])
    darker = asked.outputs_of(torch.stack([stack, 0.5 * stack]))
    assert torch.equal(darker[:1], whole)
    assert not torch.equal(darker[1:], whole)
    assert torch.equal(asked.score_of(stack[None]), whole[:, 0])
    assert torch.equal(asked.outputs_of_tokens(torch.zeros(2, 1, 1, 4)), whole.repeat(2, 1))
