"""Maps of one exam by kind: each film has its own, whichever way it is asked."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from client.reading import maps
from client.reading.map_kinds import MapKind

FILMS = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(1))


def score_of(views: torch.Tensor) -> torch.Tensor:
    """The light of the first film's upper left quarter."""
    return views[:, 0, :16, :16].mean(dim=(1, 2))


def made(kind: MapKind) -> maps.ExamMaps:
    return maps.make_maps(
        kind,
        SimpleNamespace(),
        FILMS,
        score_of=score_of,
        outputs_of_tokens=lambda tokens: tokens,
        clinical=(torch.zeros(1, 1, 1), torch.ones(1, 1, 1)),
    )


def test_what_hiding_changes_is_of_the_film_that_is_read() -> None:
    found = made("occlusion")
    first, second = found.heats
    assert (found.kind, found.notes) == ("occlusion", ())
    assert first.any()
    assert not second.any()


def test_a_fit_says_of_each_film_how_far_it_is_to_be_trusted() -> None:
    found = made("lime")
    first, second = found.heats
    assert np.abs(first[:16, :16]).min() > np.abs(first[16:]).max()
    assert second is None
    assert found.notes[0].startswith("fit R² 1.00")
    assert found.notes[1].startswith("not reliable")


def test_grad_cam_is_asked_with_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    heat = np.ones((32, 32), dtype=np.float32)
    monkeypatch.setattr(maps, "grad_cam", lambda release, stack, *_: (heat,) * len(stack))
    found = made("gradcam")
    assert found.kind == "gradcam"
    assert [each is heat for each in found.heats] == [True, True]
