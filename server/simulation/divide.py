"""Divides everybody into training and held out, trains every arm, measures all on the same patients.

The first division is the hospitals' own, and its federated arm is the release; further ones are drawn
afresh and trained in memory, noise included. Imports the sites' patients and the arms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from client.cohort.patients import load_split
from client.cohort.split import SplitCase, splits_of
from client.site.folder import Site
from client.site.linkage import PatientKey
from server.simulation.arms import (
    CLINICAL_ONLY,
    FEDERATED,
    UNTRAINED,
    Trained,
    arms_of,
    clinical_only,
    score_arm,
    train_arm,
    untrained,
)
from server.simulation.comparison import INTERNAL, Division, adjust_columns, measure_place
from server.simulation.published import build_rule, facts_of, measure_rule, rule_beside
from shared.contract.decision import decision_of
from shared.contract.model_settings import follow_up_of
from shared.contract.plan import Plan
from shared.contract.settings import Settings
from shared.errors import RunError
from shared.exam.schema import Split, SplitRule
from shared.train.patients import PatientBatch, join_patients


@dataclass(frozen=True)
class Ward:
    """Everybody with a label at one hospital, and the split of each as its cohort has it."""

    site: str
    cases: Mapping[PatientKey, SplitCase]
    batch: PatientBatch
    splits: tuple[Split, ...]

    def of_split(self, split: Split, number: int, *, seed: int, rule: SplitRule) -> PatientBatch:
        """Patients of a split in a division; the first is the cohort's own."""
        if number == 1:
            found = self.splits
        else:
            key = hashlib.sha256(f"division {number}, {seed}, {self.site}".encode()).digest()
            found = tuple(splits_of(self.cases, key=key, rule=rule).values())
        return self.batch.select([place for place, each in enumerate(found) if each == split])


def load_ward(site: Site, plan: Plan) -> Ward:
    """A site's labelled patients as the plan's model takes them.

    Raises:
        IntakeError: the site has no such cohort.
    """
    data = load_split(site, plan, name=plan.settings.cohort.name, split=None)
    # exams stand by rising day: the earliest labelled one says the class, as at the intake
    first = {exam.patient: exam for exam in reversed(data.arrays.exams) if exam.label is not None}
    cases = {
        patient: SplitCase(stratum=(label and label.class_name) or "")
        for patient, label in ((each, first[each].label) for each in data.arrays.patients)
    }
    return Ward(
        site=site.name,
        cases=cases,
        batch=data.batch,
        splits=tuple(first[patient].split for patient in cases),
    )


def measure_division(
    number: int,
    *,
    settings: Settings,
    plan: Plan,
    wards: Mapping[str, Ward],
    seed: int,
    release: Trained | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Division:
    """Train every arm on one division and measure them on the same held-out patients.

    Args:
        number: of the division, from 1.
        settings: of the simulation.
        plan: the federation's; its roster says who trains, and declares sizes.
        wards: of every site of the roster.
        seed: of the divisions.
        release: the federated arm, where it was trained already.
        progress: called with (arms done, arms in all).

    Raises:
        RunError: a hospital has nobody left to train on.
    """
    rule = settings.cohort.split
    trains = [entry for entry in plan.roster if entry.role == "training"]
    training = {
        entry.site: wards[entry.site].of_split("train", number, seed=seed, rule=rule)
        for entry in trains
    }
    empty = [site for site, batch in training.items() if not len(batch)]
    if empty:
        raise RunError("nobody-trains", f"division {number} has nobody to train on at {empty}")
    held_out = [
        wards[entry.site].of_split("internal", number, seed=seed, rule=rule) for entry in trains
    ]
    places = {INTERNAL: join_patients(*(batch.with_films() for batch in held_out))}
    places |= {entry.site: wards[entry.site].batch for entry in plan.roster if entry.role == "external"}
    declared = {entry.site: entry.declared_patients for entry in trains}
    arms = {name: (settings, arm) for name, arm in arms_of(training, declared).items()}
    without_films = clinical_only(settings)
    if without_films is not None:
        arms[CLINICAL_ONLY] = (without_films, arms[FEDERATED][1])
    trained = {}
    for done, (name, (asked, arm)) in enumerate(arms.items(), start=1):
        is_released = name == FEDERATED and release is not None
        trained[name] = release if release and is_released else train_arm(asked, arm, run=plan.run)
        if progress:
            progress(done, len(arms))
    trained[UNTRAINED] = untrained(trained[FEDERATED].plan)
    figures, differences, n_read = [], [], dict[str, int]()
    decision, asked_rule = decision_of(plan.settings), rule_beside(settings)
    simple = build_rule(asked_rule, settings) if asked_rule else None
    for place, patients in places.items():
        scored = {name: score_arm(arm, patients) for name, arm in trained.items()}
        found = measure_place(place, scored, decision, follow_up=follow_up_of(plan.settings))
        figures += found[0]
        differences += found[1]
        if simple is not None:
            beside = measure_rule(place, scored[FEDERATED], simple, decision)
            figures += beside[0]
            differences += beside[1]
            n_read[place] = beside[2]
    return Division(
        number=number,
        training={site: len(batch) for site, batch in training.items()},
        patients={place: _n_scored(patients) for place, patients in places.items()},
        figures=tuple(figures),
        differences=tuple(adjust_columns(differences)),
        rule=facts_of(asked_rule, n_read) if asked_rule else None,
    )


def _n_scored(patients: PatientBatch) -> int:
    """Who has a labelled exam left under the plan's caps."""
    return int(patients.exam_mask.any(dim=1).sum()) if len(patients) else 0
