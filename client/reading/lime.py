"""LIME of one film: which cells of a fixed grid a weighted linear model says the score rests on.

Owns the masks, the fit and when it is called reliable. Imports numpy, scipy and torch.
Legend: n masks · k cells · v views · h w pixels.

Source: Ribeiro, Singh & Guestrin 2016 (KDD), section 3; kernel and ridge of its authors' ``lime``
package for images, with a grid in place of segments; D-127.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]
Image = NDArray[np.float32]

CELLS = 8  # along each edge of a film
N_MASKS = 400  # in each of the two sets
KERNEL_WIDTH, RIDGE = 0.25, 1.0  # of the package's LimeImageExplainer
# Between weights of pure chance, 64 ranks correlate with an SD of 1/√63 = 0.126: 0.5 is four of them.
# What reads a place lies far above; tests/client/reading/test_lime.py measures both.
STABILITY_LIMIT = 0.5
_NONE = 0.1  # weights below this share of the largest count as none: only their noise has a rank
_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class Lime:
    """What the fit says of one film.

    ``weights`` [8,8]: change of the score when a cell is shown, by all masks. ``r2``: weighted share of
    the score's variance over masks that the fit explains. ``stability``: Spearman's correlation of
    the weights of the two sets of masks.
    """

    weights: Floats
    r2: float
    stability: float

    @property
    def is_reliable(self) -> bool:
        """Whether other masks would say the same."""
        return self.stability >= STABILITY_LIMIT

    @property
    def in_words(self) -> str:
        """Fit and stability, and whether a map may be drawn of them."""
        figures = f"fit R² {self.r2:.2f}, stability {self.stability:.2f}"
        return figures if self.is_reliable else f"not reliable: {figures}, below {STABILITY_LIMIT:g}"

    def heat(self, shape: tuple[int, int]) -> Image | None:
        """The weights at the film's size [h,w]; None where they are not reliable."""
        if not self.is_reliable:
            return None
        return self.weights.ravel()[cells_of(shape)].astype(np.float32)


def explain(stack: Tensor, view: int, score_of: Callable[[Tensor], Tensor]) -> Lime:
    """Fit the score of one film over masks that follow from the film's bytes alone.

    Args:
        stack: films of the exam [v,h,w].
        view: the film whose cells are hidden by its own mean; the others stay whole.
        score_of: the score [n] of views [n,v,h,w].
    """
    masks = draw_masks(stack[view].numpy())
    scores = _score(masks, stack, view, score_of)
    first, second = (
        fit(masks[part], scores[part])[0] for part in (slice(N_MASKS), slice(N_MASKS, None))
    )
    weights, r2 = fit(masks, scores)
    return Lime(weights=weights.reshape(CELLS, CELLS), r2=r2, stability=agreement(first, second))


def draw_masks(film: Image) -> NDArray[np.bool_]:
    """Two sets of masks below each other [2·n,k], each cell shown or hidden by a fair coin."""
    seed = int.from_bytes(hashlib.sha256(np.ascontiguousarray(film).tobytes()).digest())
    return np.random.default_rng(seed).random((2 * N_MASKS, CELLS**2)) < 0.5


def cells_of(shape: tuple[int, int]) -> NDArray[np.intp]:
    """The cell of each pixel [h,w], counted by rows."""
    down, across = (np.arange(length) * CELLS // length for length in shape)
    return (down[:, None] * CELLS + across).astype(np.intp)


def fit(masks: NDArray[np.bool_], scores: Floats) -> tuple[Floats, float]:
    """Ridge weights [k] of shown cells, with a free intercept, and the weighted R².

    A mask counts by the cosine between it and the whole film: √exp(−d²/width²), d = 1 − √(share shown).

    Args:
        masks: True where a cell is shown [n,k].
        scores: of the masked films [n]; where all are one, all weights and R² are 0.
    """
    shown = masks.astype(np.float64)
    distance = 1.0 - np.sqrt(shown.mean(axis=1))
    counts = np.sqrt(np.exp(-((distance / KERNEL_WIDTH) ** 2)))  # [n]
    rise = scores - scores[0]  # exactly 0 where all are one
    rise = rise - np.average(rise, weights=counts)
    moved = shown - np.average(shown, axis=0, weights=counts)
    gram = (moved * counts[:, None]).T @ moved + RIDGE * np.eye(shown.shape[1])
    weights: Floats = np.linalg.solve(gram, moved.T @ (counts * rise))
    total = float(counts @ rise**2)
    return weights, 1.0 - float(counts @ (rise - moved @ weights) ** 2) / total if total else 0.0


def agreement(first: Floats, second: Floats) -> float:
    """Spearman's correlation of two fits' weights, small ones tied; 0 where either has none."""
    from scipy.stats import rankdata

    ranks = []
    for weights in (first, second):
        largest = np.abs(weights).max()
        ranks.append(rankdata(np.where(np.abs(weights) < _NONE * largest, 0.0, weights)))
        if not np.ptp(ranks[-1]):
            return 0.0
    return float(np.corrcoef(*ranks)[0, 1])


def _score(
    masks: NDArray[np.bool_], stack: Tensor, view: int, score_of: Callable[[Tensor], Tensor]
) -> Floats:
    """Scores [n] of the exam with the hidden cells of one film at its mean."""
    import torch

    cells = cells_of((stack.shape[1], stack.shape[2]))
    mean, parts = stack[view].mean(), []
    for some in np.split(masks, range(_AT_ONCE, len(masks), _AT_ONCE)):
        pictures = stack.expand(len(some), *stack.shape).clone()  # [n,v,h,w]
        shown = torch.from_numpy(some[:, cells])  # [n,h,w]
        pictures[:, view] = torch.where(shown, pictures[:, view], mean)
        parts.append(score_of(pictures).double().numpy())
    return np.concatenate(parts)
