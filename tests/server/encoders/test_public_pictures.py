"""Pictures of the generic pretraining repeat for a seed and show what their quantities say."""

from __future__ import annotations

import numpy as np
import torch

from server.encoders.public_pictures import draw_pictures


def test_pictures_repeat_for_a_seed_and_their_quantities_are_standard() -> None:
    pictures, quantities = draw_pictures(12, seed=3)
    assert torch.equal(pictures, draw_pictures(12, seed=3)[0])
    assert not torch.equal(pictures, draw_pictures(12, seed=4)[0])
    assert pictures.shape == (12, 1, 128, 128)
    torch.testing.assert_close(quantities.mean(dim=0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(quantities.std(dim=0), torch.ones(2))


def test_a_picture_of_more_contrast_varies_more_and_a_steeper_law_has_smaller_discs() -> None:
    pictures, quantities = draw_pictures(80, seed=1)
    grey = pictures.float()[:, 0]
    contrast = grey.flatten(1).std(dim=1).numpy()
    assert np.corrcoef(contrast, quantities[:, 1].numpy())[0, 1] > 0.7
    edges = (grey.diff(dim=2).abs() > 0).float().mean(dim=(1, 2)).numpy()
    assert np.corrcoef(edges, quantities[:, 0].numpy())[0, 1] > 0.7
