"""What a score changes by when one place of a film is hidden.

Imports torch only. Legend: n pictures · v views · h w pixels.

Source: Zeiler & Fergus 2014 (ECCV), section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Image = NDArray[np.float32]
_PATCH, _STRIDE = 16, 8  # pixels of the normalised film


def occlude(stack: Tensor, view: int, score_of: Callable[[Tensor], Tensor]) -> Image:
    """Mean absolute change of the score when a patch is replaced by the film's own mean [h,w].

    Args:
        stack: films of the exam [v,h,w].
        view: which of them is hidden in part; the others stay whole.
        score_of: the score [n] of views [n,v,h,w].
    """
    import torch

    height, width = stack.shape[1:]
    corners = [
        (top, left)
        for top in range(0, height - _PATCH + 1, _STRIDE)
        for left in range(0, width - _PATCH + 1, _STRIDE)
    ]
    hidden = stack.expand(len(corners), *stack.shape).clone()
    for index, (top, left) in enumerate(corners):
        hidden[index, view, top : top + _PATCH, left : left + _PATCH] = stack[view].mean()
    change = (score_of(hidden) - score_of(stack[None])).abs()
    total, count = torch.zeros(height, width), torch.zeros(height, width)
    for (top, left), amount in zip(corners, change, strict=True):
        total[top : top + _PATCH, left : left + _PATCH] += amount
        count[top : top + _PATCH, left : left + _PATCH] += 1
    heat: Image = (total / count.clamp(min=1)).numpy().astype(np.float32)
    return heat
