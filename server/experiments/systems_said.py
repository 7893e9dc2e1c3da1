"""What the page of the systems says in words: the paper's order, hospitals alone, who gains.

Three answers everywhere: told from 0 one way, told the other way, not told. Takes outcomes as data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from server.experiments.looks_page import cell
from server.experiments.outcome import Compared, Mean, Outcome, mean_of_hospitals
from server.experiments.system import ALONE, FEDERATED, LOCAL, POOLED, PROSPECTIVE, Ablation, System

# Of an adjusted p: what is said of one hospital among several.
_TOLD_P = 0.05


class _Gain(NamedTuple):
    """What is said where a difference is above 0, is not told from 0, and is below 0."""

    more: str
    equal: str
    less: str


# By the title of a difference.
GAINS = {
    f"{FEDERATED} − {ALONE}, no privacy": _Gain(
        more="The federation of the others reads better than the hospital's own model",
        equal="**One hospital alone is not told from the federation**",
        less="**A hospital alone reads better than the federation of the others**",
    ),
    f"{LOCAL} − {FEDERATED}": _Gain(
        more="Local training on top of the release gains",
        equal="Local training is not told to gain or lose",
        less="**Local training loses**",
    ),
}
MEAN_OF_HOSPITALS = "the mean of all hospitals"


def order_sentence(ablation: Ablation, compared: Sequence[Compared], figure: str) -> str:
    """In how many comparisons the paper's order is told, told otherwise, or not; empty without one.

    Pooled models are left out: without privacy they are nearly those of the federation, to the digit.
    """
    if not ablation.claim:
        return ""
    pair = (ablation.first, ablation.second)
    found = [
        (f"{each.kind}, {each.place}", each.mean)
        for each in compared
        if each.kind
        and not each.kind.startswith(POOLED)
        and (each.first, each.second) == pair
        and each.figure == figure
        and each.mean
    ]
    n_told = sum(mean.low > 0 for _, mean in found)
    otherwise = [f"{place} {cell(mean)}" for place, mean in found if mean.high < 0]
    n_open = len(found) - n_told - len(otherwise)
    parts = [f"told so in {n_told} of {len(found)} comparisons"]
    if otherwise:
        parts.append(f"**told otherwise** in {len(otherwise)} ({'; '.join(otherwise)})")
    if n_open:
        parts.append(f"not told in {n_open}")
    above = f"- {ablation.first} above {ablation.second} in the paper ({ablation.claim})"
    return f"{above}: by {figure} {', '.join(parts)}."


def alone_sentence(system: System, outcome: Outcome) -> list[str]:
    """Which hospitals alone read as well as the federation, or better, on later patients of all."""
    figure, prefix = system.figures[0], f"{ALONE}: "
    rows = [
        (each.second.removeprefix(prefix), each)
        for each in outcome.compared
        if each.second.startswith(prefix) and each.place == PROSPECTIVE and each.figure == figure
    ]
    if not rows:
        return []
    above = [name for name, each in rows if _is_told(each) and each.mean and each.mean.low > 0]
    below = [name for name, each in rows if each.mean and each.mean.high < 0]
    open_ = [name for name, _ in rows if name not in above and name not in below]
    said = [
        f"told above {', '.join(above)} alone" if above else "told above no hospital alone",
        *([f"not told from {', '.join(open_)} alone"] if open_ else []),
        *([f"**below {', '.join(below)} alone**"] if below else []),
    ]
    return [
        f"By {figure} on later patients of all hospitals, each hospital alone under the same ε, the "
        f"federation is {'; '.join(said)} (above: Holm's p under {_TOLD_P:g})."
    ]


def gain_sentences(figure: str, words: _Gain, by_place: Mapping[str, Mean | None]) -> list[str]:
    """Where the first reads better, where it is not told, where the second does; the mean beside."""
    sides: dict[str, list[str]] = {words.more: [], words.equal: [], words.less: []}
    known = {place: mean for place, mean in by_place.items() if mean is not None}
    if len(known) > 1:
        known |= {MEAN_OF_HOSPITALS: mean_of_hospitals(list(known.values()))}
    for place, mean in known.items():
        is_told = words.more if mean.low > 0 else words.less
        sides[words.equal if mean.holds_nought else is_told].append(place)
    return [
        f"- {said} by {figure}: {', '.join(places) or 'nowhere'}."
        for said, places in sides.items()
        if by_place
    ]


def _is_told(each: Compared) -> bool:
    return each.p_adjusted is not None and each.p_adjusted < _TOLD_P
