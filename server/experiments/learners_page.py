"""Writes the learners' figures as ``docs/learners.md``, beside those of the blueprint experiment.

Ours are measured when it runs: ``python -m server.experiments.learners_page``, or with ``--quick`` of
one small population, beside what is kept; with ``--kept`` the page is written anew from what was
measured. What the blueprint experiment had reached is data with its source
(``docs/data/blueprint_learners.json``). Imports the figures of the learners.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

from pydantic import TypeAdapter

from server.experiments.figures import TRAINING_PATIENTS
from server.experiments.learners import (
    DELTA,
    ENTRIES,
    EPSILONS,
    QUICK,
    Measured,
    Size,
    draw_populations,
    measure_learners,
    not_measured,
    read_settings,
)
from server.experiments.pooled import compare_pooled, pooled_lines
from server.federation.compose import compose_settings
from shared.errors import SettingsError
from shared.machine.files import PROJECT, write_atomic

DATA = "docs/data/learners.json"
BLUEPRINT = PROJECT / "docs" / "data" / "blueprint_learners.json"
KEPT = PROJECT / "figures" / "work" / "learners.jsonl"
# The arm that the blueprint experiment had too.
_COMPARED = "federated"


@dataclass(frozen=True)
class Blueprint:
    """Figures by learner and ε as another experiment had them, None where it had none; and why not."""

    source: str
    figures: Mapping[str, Sequence[float | None]]
    not_compared: Mapping[str, str]

    def of(self, name: str) -> str:
        """The cell of a learner: its figures at every ε.

        Raises:
            SettingsError: nothing is said of this learner.
        """
        if name in self.figures:
            return " · ".join("–" if each is None else f"{each:.3f}" for each in self.figures[name])
        if name not in self.not_compared:
            raise SettingsError("no-blueprint", f"{BLUEPRINT.name} must say why {name} is not compared")
        return "not compared"


def read_blueprint(path: Path = BLUEPRINT) -> Blueprint:
    """The figures to compare with.

    Raises:
        SettingsError: they are at other ε than ours.
    """
    content = json.loads(path.read_text())
    if tuple(content["epsilons"]) != EPSILONS:
        raise SettingsError("no-blueprint", f"{path.name} must have figures at ε {EPSILONS}")
    return Blueprint(content["source"], content["figures"], content["not_compared"])


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one run of the command measured, when, how much, and with which encoder (its SHA-256).

    ``pooled``: beside scikit-learn's, without privacy.
    """

    date: str
    encoder_sha256: str
    size: Size
    measured: tuple[Measured, ...]
    pooled: tuple[Measured, ...]


def write_learners(outcome: Outcome, *, root: Path = PROJECT) -> Path:
    """Keep what was measured, and write ``docs/learners.md`` from it."""
    page = root / "docs" / "learners.md"
    text = learners_page(outcome, read_blueprint())
    write_atomic(root / DATA, TypeAdapter(Outcome).dump_json(outcome, indent=1) + b"\n")
    write_atomic(page, text.encode())
    return page


def read_learners(root: Path = PROJECT) -> Outcome:
    """What is kept."""
    return TypeAdapter(Outcome).validate_json((root / DATA).read_bytes())


def learners_page(outcome: Outcome, blueprint: Blueprint) -> str:
    """The page of what was measured, beside the blueprint's figures."""
    size = outcome.size
    sizes = " + ".join(str(n) for n in TRAINING_PATIENTS.values())
    lines = [
        "# Learners of tables",
        "",
        "Written by `python -m server.experiments.learners_page`; nothing here is typed by hand.",
        "",
        f"{sizes} training patients at three synthetic sites, {size.populations} populations, "
        f"{size.draws} draws of the noise each; scored on {size.evaluated} fresh patients. Columns: "
        "the pooled image token and the clinical fields. AUC: macro one against the rest of normal, "
        "osteopenia and osteoporosis (T-score cuts −1 and −2.5); R² of BMD. ε of a patient "
        f"(add/remove) at δ = {DELTA:g}, exact Gaussian accounting. *Federated*: each site adds its "
        "own noise; *external*: scored at a hospital that never trained; *one message*: each site "
        "takes all steps alone, its last states are averaged by size; *pooled*: all patients in one "
        "place, one noise; *alone*: one site, its own noise; *all kept*: nothing of the budget goes to "
        "a choice of columns there, and *off* chooses exactly. ± is the standard error over "
        "populations. "
        f"{outcome.date}.",
        "",
        f"Last column, at the same four ε: {blueprint.source}.",
        "",
        "| learner | figure | arm | ε 1 | ε 3 | ε 8 | off | blueprint experiment |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for found in outcome.measured:
        words = _kept_words(found.name)
        for arm, values in found.arms.items():
            cells = " | ".join(
                f"{value:.3f} ± {error:.3f}{word}"
                for (value, error), word in zip(values, words, strict=True)
            )
            beside = blueprint.of(found.name) if arm == _COMPARED else ""
            lines.append(f"| {found.name} | {found.figure} | {arm} | {cells} | {beside} |")
    lines += ["", *_gap_lines(outcome, blueprint)]
    told = [f"- {name}: {why}." for name, why in blueprint.not_compared.items()]
    lines += ["Not compared:", "", *told, ""]
    told = [f"- `learner={name}`: {why}." for name, why in not_measured().items()]
    lines += ["Not measured:", "", *told, ""]
    return "\n".join([*lines, *pooled_lines(outcome.pooled, size)])


def gaps(outcome: Outcome, blueprint: Blueprint) -> dict[tuple[str, float | None], float]:
    """Ours less the blueprint experiment's, by learner and ε, where both have a figure."""
    return {
        (found.name, epsilon): ours - theirs
        for found in outcome.measured
        for epsilon, (ours, _), theirs in zip(
            EPSILONS,
            found.arms.get(_COMPARED, ()),
            blueprint.figures.get(found.name, (None,) * len(EPSILONS)),
            strict=False,
        )
        if theirs is not None
    }


def _gap_lines(outcome: Outcome, blueprint: Blueprint) -> list[str]:
    """The largest gap in a sentence; nothing where nothing is compared."""
    found = gaps(outcome, blueprint)
    if not found:
        return []
    (name, epsilon), gap = max(found.items(), key=lambda each: abs(each[1]))
    where = "without noise" if epsilon is None else f"at ε {epsilon:g}"
    return [
        f"The largest of {len(found)} gaps to the last column is {gap:+.3f}, of {name} {where}.",
        "",
    ]


def _kept_words(name: str) -> tuple[str, ...]:
    """What stands beside a figure at each ε: where a selection chooses nothing, that it keeps all."""
    kinds = {entry.name: entry for entry in ENTRIES}
    settings = read_settings(kinds[name]) if name in kinds else None
    if settings is None or settings.kind != "selection":
        return ("",) * len(EPSILONS)
    return tuple("" if settings.by.share_at(each) else " (all kept)" for each in EPSILONS)


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small population, one draw")
    parser.add_argument("--kept", action="store_true", help="the page again, of what was measured")
    asked = parser.parse_args()
    if asked.kept:
        write_learners(read_learners())
        return
    size = QUICK if asked.quick else Size()
    root = KEPT.parent if size == QUICK else PROJECT
    settings, tell = compose_settings(), partial(print, file=sys.stderr)
    populations = cache(partial(draw_populations, settings, size))
    measured = measure_learners(size=size, populations=populations, kept=KEPT, progress=tell)
    pooled = compare_pooled(size=size, populations=populations, kept=KEPT, progress=tell)
    outcome = Outcome(
        date=datetime.now(UTC).date().isoformat(),
        encoder_sha256=settings.encoder.sha256,
        size=size,
        measured=measured,
        pooled=pooled,
    )
    write_learners(outcome, root=root)


if __name__ == "__main__":
    main()
