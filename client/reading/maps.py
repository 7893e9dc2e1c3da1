"""The maps of one exam, of the kind that was asked for.

Imports each kind. Legend: n pictures · v views · h w pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from client.reading import lime
from client.reading.grad_cam import grad_cam
from client.reading.map_kinds import MapKind
from client.reading.occlusion import occlude
from shared.contract.release import Release

if TYPE_CHECKING:
    from torch import Tensor

Image = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ExamMaps:
    """Maps [h,w] of an exam's films, None where none may be drawn, and what is said of each film's."""

    kind: MapKind = "occlusion"
    heats: tuple[Image | None, ...] = ()
    notes: tuple[str, ...] = ()


def make_maps(
    kind: MapKind,
    release: Release,
    stack: Tensor,
    *,
    score_of: Callable[[Tensor], Tensor],
    outputs_of_tokens: Callable[[Tensor], Tensor],
    clinical: tuple[Tensor, Tensor],
) -> ExamMaps:
    """Maps of one exam's films.

    Args:
        kind: which.
        release: a verified release, with its encoder.
        stack: its films [v,h,w].
        score_of: the score [n] of views [n,v,h,w].
        outputs_of_tokens: what the release makes of tokens [n,v,t,c], [n,o].
        clinical: standardised fields and their mask, [1,1,k] each.

    Raises:
        IntakeError: ``no-gradient-map``, of Grad-CAM.
    """
    if kind == "gradcam":
        return ExamMaps(kind=kind, heats=grad_cam(release, stack, outputs_of_tokens, clinical))
    views = range(len(stack))
    if kind == "occlusion":
        return ExamMaps(kind=kind, heats=tuple(occlude(stack, view, score_of) for view in views))
    found = [lime.explain(stack, view, score_of) for view in views]
    size = (stack.shape[1], stack.shape[2])
    return ExamMaps(
        kind=kind,
        heats=tuple(each.heat(size) for each in found),
        notes=tuple(each.in_words for each in found),
    )
