"""How stable a choice of columns is: what it would keep were its noise drawn again.

The noise that was added cannot be taken off. So fresh noise of the same size is added to the noised
total, and the columns are chosen anew, again and again: post-processing, which costs nobody anything.
What is told is of a total with twice the noise's variance, and so rather too unstable than too stable;
it says nothing of other patients. Imports the choice.

Source: the idea of Meinshausen and Bühlmann 2010 (J R Stat Soc B 72:417), with noise in the place of
subsamples, which would ask patients again.

Legend: f columns · r draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared.learners.selection import Selection
from shared.sums.contract import Floats, State

DRAWS = 40
_SEED = 20_262  # of draws that protect nobody


@dataclass(frozen=True, kw_only=True)
class Stable:
    """A column of a choice.

    Attributes:
        column: its name.
        is_kept: whether the run kept it.
        score: of the run; only the order counts, but by LASSO 1 is λ.
        frequency: share of the draws that keep it.
        rank: median place among all columns over the draws, from 1.
    """

    column: str
    is_kept: bool
    score: float
    frequency: float
    rank: float


def measure_stability(selection: Selection, state: State, *, draws: int = DRAWS) -> tuple[Stable, ...]:
    """Every column that was chosen from, the highest score first.

    Args:
        selection: of a plan.
        state: its last one, with its memory.
        draws: of fresh noise.

    Returns:
        Nothing where no sum chose.
    """
    rng = np.random.default_rng(_SEED)
    again: list[Floats] = []
    for _ in range(draws):
        scores = selection.choose_again(state, rng.standard_normal(selection.asked.length))
        if scores is None:
            return ()
        again.append(scores)
    ranks = np.argsort(np.argsort(-np.stack(again), axis=1, kind="stable"), axis=1) + 1  # [r,f]
    scores = state.vector[: ranks.shape[1]]
    kept = set(selection.columns_kept(state))
    return tuple(
        Stable(
            column=name,
            is_kept=name in kept,
            score=float(scores[place]),
            frequency=float((ranks[:, place] <= selection.settings.keep).mean()),
            rank=float(np.median(ranks[:, place])),
        )
        for place in np.argsort(-scores, kind="stable")
        for name in (selection.task.columns[place].name,)
    )


COLUMNS = ("column", "kept", "score", "kept in draws", "median rank")


def stability_rows(found: tuple[Stable, ...]) -> list[tuple[str, ...]]:
    """A row per column, for a terminal."""
    return [
        (
            each.column,
            "yes" if each.is_kept else "no",
            f"{each.score:.3g}",
            f"{each.frequency:.0%}",
            f"{each.rank:g}",
        )
        for each in found
    ]
