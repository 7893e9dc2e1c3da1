"""What the page says of where models look, and of the marker that leaks.

Takes outcomes as data. Imports the plots' choice of figures.
"""

from __future__ import annotations

from server.experiments.looks_plot import AUC, hospital_of, mean_of, trainings_of
from server.experiments.outcome import Mean, Outcome, Row
from server.experiments.system import EXTERNAL
from server.simulation.looks import IOU, LOOKS
from shared.measures.bone import DELTA
from shared.sums.intervals import normal_quantile

_CONFIDENCE = 0.95
# What is "about 0": the whole interval lies within it.
_ABOUT = 0.05
_SO, _OTHERWISE, _NOT_TOLD = "so it is", "**not so here**", "**not told**"


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
        + " | ".join(cell(found[figure].mean) for figure in (AUC, *LOOKS))
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
    found = [row.mean for row in outcome.rows if row.figure == DELTA and row.mean]
    n_told = sum(mean.low > 0 for mean in found)
    seen = f"Δ bone − Δ random is told above 0 in {n_told} of {len(found)} lines" + (
        "." if n_told else ": **no arm is seen to use bone here.**"
    )
    return ["", said, "", *looks_head(), *rows, "", seen]


def shortcut_section(leaking: Outcome, clean: Outcome | None) -> list[str]:
    """Both outcomes below each other, and for each training what was expected and what was seen."""
    lines = [*looks_head(has_words=True), *looks_table(leaking, "marker leaks")]
    if clean is None:
        return lines
    lines += [*looks_table(clean, "clean"), ""]
    for training in trainings_of(leaking):
        lines += _seen(training, leaking, clean)
    return lines


def _seen(training: str, leaking: Outcome, clean: Outcome) -> list[str]:
    hospital = hospital_of(leaking)

    def found(outcome: Outcome, place: str, figure: str) -> Mean | None:
        return mean_of(outcome, training=training, place=place, figure=figure)

    inside, outside = found(leaking, hospital, AUC), found(leaking, EXTERNAL, AUC)
    clean_inside, clean_outside = found(clean, hospital, AUC), found(clean, EXTERNAL, AUC)
    lines = [
        f"{training[0].upper()}{training[1:]}, where the marker leaks at {hospital} (differences as if "
        "of different people, which is too wide):",
        "",
    ]
    for expected, mean, answer in (
        ("AUC inside is above that of clean films", apart(inside, clean_inside), _above),
        ("AUC falls outside", apart(inside, outside), _above),
        ("Δ bone − Δ random is about 0 inside", found(leaking, hospital, DELTA), _about_nought),
        ("IoU is chance inside", found(leaking, hospital, IOU), _about_nought),
    ):
        if mean is not None:
            lines.append(f"- {expected}: {answer(mean)}, {cell(mean)}.")
    for said, mean in (
        ("AUC falls outside by", apart(clean_inside, clean_outside)),
        ("Δ bone − Δ random is", found(clean, hospital, DELTA)),
        ("IoU above chance is", found(clean, hospital, IOU)),
    ):
        if mean is not None:
            lines.append(f"- Of clean films {said} {cell(mean)}.")
    return [*lines, ""]


def _above(mean: Mean) -> str:
    if mean.low > 0:
        return _SO
    return _NOT_TOLD if mean.holds_nought else _OTHERWISE


def _about_nought(mean: Mean) -> str:
    if max(-mean.low, mean.high) <= _ABOUT:
        return _SO
    return (
        f"{_NOT_TOLD}, as its interval is wider than ±{_ABOUT:g}" if mean.holds_nought else _OTHERWISE
    )


def apart(first: Mean | None, second: Mean | None) -> Mean | None:
    """First minus second of patients who are not the same: their errors are added.

    Clean and leaking films are of the same people, so that this interval is too wide there.
    """
    if first is None or second is None:
        return None
    value = first.value - second.value
    error = (first.standard_error**2 + second.standard_error**2) ** 0.5
    margin = normal_quantile(_CONFIDENCE) * error
    by_seed = tuple(a - b for a, b in zip(first.by_seed, second.by_seed, strict=True))
    return Mean(value=value, low=value - margin, high=value + margin, by_seed=by_seed)


def cell(mean: Mean | None) -> str:
    """A figure with its interval."""
    if mean is None:
        return "–"
    return f"{number(mean.value)} ({number(mean.low)} to {number(mean.high)})"


def number(value: float) -> str:
    """Three decimals, with a true minus."""
    return f"{value:.3f}".replace("-", "−")
