"""The kinds of map that a reading can be drawn with, and what is written beside each.

Imports nothing, so that a command may name them before anything heavy is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MapKind = Literal["occlusion", "gradcam", "lime"]


@dataclass(frozen=True)
class MapWords:
    """What stands over a map, and beside its colours (None: the unit of the reading's value)."""

    title: str
    unit: str | None = None


WORDS: Mapping[MapKind, MapWords] = {
    "occlusion": MapWords("change when this place is hidden"),
    "gradcam": MapWords("speaks for the endpoint (Grad-CAM)", "share of the strongest place"),
    "lime": MapWords("change when this cell is shown (LIME)"),
}
