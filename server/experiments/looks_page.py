"""What the page says of where models look, and of the marker that leaks.

Takes outcomes as data. Imports the plots' choice of figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from server.experiments.looks_plot import AUC, hospital_of, mean_of
from server.experiments.outcome import Mean, Outcome, Row
from server.experiments.system import EXTERNAL
from server.simulation.looks import IOU, LOOKS
from shared.measures.bone import DELTA, DIFFERENCES
from shared.sums.intervals import normal_quantile

_CONFIDENCE = 0.95
_BONE, *_ = DIFFERENCES
# What is "about 0": the whole interval lies within it, or below.
_ABOUT = 0.05
_SO, _OTHERWISE, _NOT_TOLD = "so it is", "**not so here**", "**not told**"
NOT_ASSESSED = "not assessed"
_PARTS = (
    "AUC inside is above clean films'",
    "AUC falls outside",
    "bone is worth no more than as much else",
    "IoU is chance",
)
_CHANGES = ("AUC inside", "AUC outside", "Δ bone − Δ random inside", "IoU inside")
Answer = Callable[[Mean], str]


def looks_table(outcome: Outcome, words: str = "") -> list[str]:
    """A line for each arm, training and place that was looked at; none, where nobody was asked.

    Args:
        outcome: of a system.
        words: a first column's, where two outcomes stand below each other.
    """
    cells: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in outcome.rows:
        if row.figure in (AUC, *LOOKS):
            cells.setdefault((row.arm, row.training, row.place), {})[row.figure] = row
    return [
        f"| {' | '.join([*([words] if words else []), *key])} | "
        + " | ".join(cell(found[figure].mean, lacking=NOT_ASSESSED) for figure in (AUC, *LOOKS))
        + " |"
        for key, found in cells.items()
        if set(LOOKS) <= set(found)
    ]


def looks_head(*, has_words: bool = False) -> list[str]:
    """The head of such a table."""
    head = [*(["patients"] if has_words else []), "arm", "trained", "measured", AUC, *LOOKS]
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]


def looks_section(outcome: Outcome) -> list[str]:
    """Where each arm looks; nothing where nobody was asked."""
    rows = looks_table(outcome)
    if not rows:
        return []
    said = "Where the model looks ([what is measured](explanation/looking-at-bone.md)); 0 is chance:"
    lows: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in outcome.rows:
        if row.figure in (_BONE, DELTA) and row.mean:
            lows.setdefault((row.arm, row.training, row.place), {})[row.figure] = row.mean.low
    users = [arm for (arm, *_), low in lows.items() if len(low) == 2 and min(low.values()) > 0]
    who = ", ".join(dict.fromkeys(users)) or "**no arm is seen to use bone here**"
    seen = (
        "Δ bone and Δ bone − Δ random are both told above 0 in "
        f"{len(users)} of {len(lows)} lines: {who}."
    )
    return ["", said, "", *looks_head(), *rows, "", seen]


def shortcut_section(leaking: Outcome, clean: Outcome | None) -> list[str]:
    """Of each arm and training which parts of the picture of a shortcut are seen, and the figures."""
    every = [*looks_head(has_words=True), *looks_table(leaking, "marker leaks")]
    if clean is None:
        return every
    every += looks_table(clean, "clean")
    if not leaking.against_clean:
        return [
            *every,
            "",
            "The parts of the picture are not told yet: both kinds of films are not paired.",
        ]
    models = list(dict.fromkeys((row.arm, row.training) for row in leaking.against_clean))
    lines = [*_verdicts(leaking, models), "", *_changes_table(leaking, models)]
    title = "Every figure, of both kinds of films"
    return [*lines, "", f"<details><summary>{title}</summary>", "", *every, "", "</details>"]


def _verdicts(leaking: Outcome, models: Sequence[tuple[str, str]]) -> list[str]:
    """A line for each (arm, training): which of the four parts are seen."""
    parts = {model: _parts(leaking, *model) for model in models}
    whole = [model for model, part in parts.items() if all(_is_so(each) for each in part)]
    named = f": {'; '.join(', '.join(model) for model in whole)}" if whole else ""
    return [
        f"The picture of a shortcut has four parts. Inside, at {hospital_of(leaking)} where the marker "
        "leaks, AUC is above that of the same people's clean films (paired on each patient); outside "
        "it is lower than inside (other people); inside, bone is worth no more than as much else "
        f"(Δ bone − Δ random, its interval's upper end at most {_ABOUT:g}: it may lie below 0, where "
        f"what else is hidden covers the marker) and IoU is chance (the whole interval within "
        f"±{_ABOUT:g}).",
        "",
        f"All four are seen in {len(whole)} of {len(models)} models{named}.",
        "",
        f"| {' | '.join(['arm', 'trained', *_PARTS, 'all four'])} |",
        "|---" * (len(_PARTS) + 3) + "|",
        *(
            f"| {' | '.join([*model, *map(_said, part), _SO if model in whole else 'no'])} |"
            for model, part in parts.items()
        ),
    ]


def _changes_table(leaking: Outcome, models: Sequence[tuple[str, str]]) -> list[str]:
    """A line for each (arm, training): what the marker changes."""
    return [
        "What the marker changes: each figure less that of the same training on the same people's "
        "clean films, paired on each patient. *fall of AUC*: from inside to outside, beyond that on "
        "clean films.",
        "",
        f"| {' | '.join(['arm', 'trained', *_CHANGES, 'fall of AUC'])} |",
        "|---" * (len(_CHANGES) + 3) + "|",
        *(f"| {' | '.join([*model, *_changes(leaking, *model)])} |" for model in models),
    ]


def _parts(leaking: Outcome, arm: str, training: str) -> list[tuple[Mean | None, Answer]]:
    """What each of ``_PARTS`` goes by, and how it is answered."""
    hospital = hospital_of(leaking)

    def found(place: str, figure: str) -> Mean | None:
        return mean_of(leaking.rows, arm=arm, training=training, place=place, figure=figure)

    gained = mean_of(leaking.against_clean, arm=arm, training=training, place=hospital, figure=AUC)
    return [
        (gained, _above),
        (apart(found(hospital, AUC), found(EXTERNAL, AUC)), _above),
        (found(hospital, DELTA), _no_more),
        (found(hospital, IOU), _about_nought),
    ]


def _changes(leaking: Outcome, arm: str, training: str) -> list[str]:
    """Cells of ``_CHANGES``, and of how much further AUC falls outside."""
    hospital = hospital_of(leaking)
    asked = [(hospital, AUC), (EXTERNAL, AUC), (hospital, DELTA), (hospital, IOU)]
    found = [
        mean_of(leaking.against_clean, arm=arm, training=training, place=place, figure=figure)
        for place, figure in asked
    ]
    return [cell(mean) for mean in (*found, apart(*found[:2]))]


def _is_so(part: tuple[Mean | None, Answer]) -> bool:
    mean, answer = part
    return mean is not None and answer(mean) == _SO


def _said(part: tuple[Mean | None, Answer]) -> str:
    mean, answer = part
    return NOT_ASSESSED if mean is None else f"{answer(mean)}: {cell(mean)}"


def _above(mean: Mean) -> str:
    if mean.low > 0:
        return _SO
    return _NOT_TOLD if mean.holds_nought else _OTHERWISE


def _no_more(mean: Mean) -> str:
    if mean.high <= _ABOUT:
        return _SO
    return _OTHERWISE if mean.low > 0 else _NOT_TOLD


def _about_nought(mean: Mean) -> str:
    if max(-mean.low, mean.high) <= _ABOUT:
        return _SO
    return _NOT_TOLD if mean.holds_nought else _OTHERWISE


def apart(first: Mean | None, second: Mean | None) -> Mean | None:
    """First minus second of patients who are not the same: their errors are added."""
    if first is None or second is None:
        return None
    value = first.value - second.value
    error = (first.standard_error**2 + second.standard_error**2) ** 0.5
    margin = normal_quantile(_CONFIDENCE) * error
    by_seed = tuple(a - b for a, b in zip(first.by_seed, second.by_seed, strict=True))
    return Mean(value=value, low=value - margin, high=value + margin, by_seed=by_seed)


def cell(mean: Mean | None, *, lacking: str = "–") -> str:
    """A figure with its interval, or the word for one that does not exist."""
    if mean is None:
        return lacking
    return f"{number(mean.value)} ({number(mean.low)} to {number(mean.high)})"


def number(value: float) -> str:
    """Three decimals, with a true minus."""
    return f"{value:.3f}".replace("-", "−")
