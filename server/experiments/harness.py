"""Trains and measures the arms of systems: a line for each model as it is finished, none twice.

A model is trained in memory by the sums and steps of a real run, on cohorts that the intake has frozen;
rounds, gates and ledgers are those of ``simulate`` and the demo. What a model says of each synthetic
patient is kept beside the lines, so that arms are compared on the same patients. Imports simulation.

::

    <work>/experiments.jsonl                           a line per model
    <work>/cohorts/<population>-<n>-<seed>/            hospitals, shared by all arms
    <work>/outputs/<hash>.npz                          weights; labels and outputs by place, with bone
                                                       hidden where it was asked where models look
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ValidationError

from server.experiments.measures import further_measures
from server.experiments.populations import Population, later_name, take_in_population
from server.experiments.readings import read_further
from server.experiments.system import (
    DELTA,
    EPSILON,
    EXTERNAL,
    INTERNAL,
    POOLED,
    PROSPECTIVE,
    Arm,
    Setting,
    System,
    Training,
)
from server.federation.compose import compose_settings
from server.federation.sweep import share_of
from server.simulation import arms
from server.simulation.arms import Trained, plan_arm, score_arm, train_arm, train_further
from server.simulation.cohorts import TakenIn
from server.simulation.comparison import Difference, Figure, Floats, measure_place
from server.simulation.divide import Ward
from server.simulation.looks import LOOKS, explain_cohorts, look_at, measure_looks
from shared.contract.decision import decision_of
from shared.contract.model_settings import follow_up_of
from shared.contract.protocol import Vector
from shared.contract.settings import Settings
from shared.machine.files import append_line, read_lines
from shared.measures.scored import Scored
from shared.signing.canonical import hash_of
from shared.strict import FROZEN
from shared.train.patients import PatientBatch, join_patients

FIRST_SEED = 101
LINES = "experiments.jsonl"
_RUN = "experiments"
# What is kept of a look: fields of ``Scored``, each an array by place.
_LOOKED, _OF_LOOK = "looked/", ("outputs", "label", "replaced", "is_assessed", "maps")
_ALWAYS = ("is_simulated=true", "is_synthetic=true")


class Model(BaseModel):
    """Which model: everything that it follows from, but its noise.

    Attributes:
        system: of it.
        setting: how much was measured.
        n_patients: of each hospital.
        seed: of the population.
        arm: of the system.
        settings: of the arm.
        training: who trained, in words.
    """

    model_config = FROZEN

    system: str
    setting: str
    n_patients: int
    seed: int
    arm: str
    settings: tuple[str, ...]
    training: str

    @property
    def outputs(self) -> str:
        """The file of what it says of patients."""
        return f"{hash_of(self.model_dump(mode='json'))[:24]}.npz"


class Line(BaseModel):
    """A model that was measured.

    Attributes:
        model: which.
        kind: how it was trained, in words.
        epsilon: of a patient for training, as the plan says; null without privacy.
        patients: how many were measured, by place.
        figures: what was read of it while it was there: readings of its system, and where it looks.
            Those of what it says of patients follow from its outputs.
        seconds: of a core, for training and measuring.
        date: of measuring.
        settings_sha256: of the arm's composed settings. A line of others is none: a YAML has changed.
    """

    model_config = FROZEN

    model: Model
    kind: str
    epsilon: float | None
    patients: dict[str, int]
    figures: tuple[Figure, ...]
    seconds: float
    date: str
    settings_sha256: str


@dataclass(frozen=True)
class Kept:
    """What was measured before, under one folder."""

    work: Path

    def lines(self) -> dict[Model, Line]:
        """Every line; a torn last one, of a killed run, is none, nor one of an older format."""
        found: dict[Model, Line] = {}
        for text in read_lines(self.work / LINES):
            with contextlib.suppress(ValidationError):
                line = Line.model_validate_json(text)
                found.pop(line.model, None)  # in the order in which they were measured last
                found[line.model] = line
        return found

    def add(
        self,
        line: Line,
        scored: Mapping[str, Scored],
        weights: Vector,
        looked: Mapping[str, Scored] | None = None,
    ) -> None:
        """Keep a model: its weights and what it says first, its line last.

        Args:
            line: of the model.
            scored: what it says of patients, by place.
            weights: what it has learnt.
            looked: what it says of them from ``look_at``, by place where it was asked.
        """
        path = self.work / "outputs" / line.model.outputs
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {f"outputs/{place}": each.outputs for place, each in scored.items()}
        arrays |= {f"label/{place}": each.label for place, each in scored.items()}
        for place, each in (looked or {}).items():
            arrays |= {f"{_LOOKED}{name}/{place}": getattr(each, name) for name in _OF_LOOK}
        np.savez(path, allow_pickle=False, weights=weights, **arrays)
        append_line(self.work / LINES, line.model_dump_json().encode() + b"\n")

    def weights(self, model: Model) -> Vector:
        """What a model has learnt."""
        with np.load(self.work / "outputs" / model.outputs) as arrays:
            found: Vector = arrays["weights"]
            return found

    def scored(self, model: Model) -> dict[str, Scored]:
        """What a model said of patients, by place."""
        with np.load(self.work / "outputs" / model.outputs) as arrays:
            labels = _by_place(arrays, "label/")
            return {
                place: Scored(arrays[f"outputs/{place}"], label, np.zeros((len(label), 0)))
                for place, label in labels.items()
            }

    def looked(self, model: Model) -> dict[str, Scored]:
        """What a model said of patients with something hidden, by place where it was asked."""
        with np.load(self.work / "outputs" / model.outputs) as arrays:
            held = {name: _by_place(arrays, f"{_LOOKED}{name}/") for name in _OF_LOOK}
        return {
            place: Scored(
                outputs=held["outputs"][place],
                label=label,
                fields=np.zeros((len(label), 0)),
                replaced=held["replaced"][place],
                is_assessed=held["is_assessed"][place].astype(np.bool_),
                maps=held["maps"][place],
            )
            for place, label in held["label"].items()
        }


def seeds_of(setting: Setting, n_seeds: int | None = None) -> tuple[int, ...]:
    """Seeds of the populations of a setting, or of the first of them."""
    return tuple(range(FIRST_SEED, FIRST_SEED + (n_seeds or setting.n_seeds)))


def models_of(
    system: System, setting: Setting, seeds: Sequence[int]
) -> Iterator[tuple[Model, Arm, Training]]:
    """Every model of a system, population by population."""
    for seed in seeds:
        for arm in system.arms:
            for training in system.design(system.population):
                model = Model(
                    system=system.name,
                    setting=setting.name,
                    n_patients=setting.n_patients,
                    seed=seed,
                    arm=arm.name,
                    settings=arm.settings,
                    training=training.name,
                )
                yield model, arm, training


def settings_of(system: System, arm: Arm, *, is_private: bool) -> Settings:
    """The settings of an arm under the experiments' ε, or without privacy.

    Raises:
        SettingsError: the arm names what there is not.
    """
    epsilon = EPSILON
    if system.share_epsilon:
        epsilon = share_of(EPSILON, len(system.arms), delta=DELTA)
    off = ("privacy=off", "privacy.sample_rate=1")
    privacy = (f"privacy.epsilon={epsilon}",) if is_private else off
    return compose_settings([*arm.settings, *privacy, *_ALWAYS], cohort=system.population.cohort)


@cache
def settings_hashes(system: System) -> dict[tuple[str, bool], str]:
    """SHA-256 of the composed settings of each arm, with and without privacy."""
    return {
        (arm.name, is_private): hash_of(
            settings_of(system, arm, is_private=is_private).model_dump(mode="json")
        )
        for arm in system.arms
        for is_private in (True, False)
    }


def measured_lines(system: System, kept: Kept) -> dict[Model, Line]:
    """The lines of a system that were measured under the settings that its arms have now.

    One that tells where a model looks, and kept of no patient what it said so, is none; nor one that
    went on from a release that was measured after it, and so is of another one.
    """
    found = kept.lines()
    lines = {model: line for model, line in found.items() if model.system == system.name}
    order = {model: number for number, model in enumerate(found)}
    bases = {each.name: each.base.name for each in system.design(system.population) if each.base}
    now = settings_hashes(system) if lines else {}
    return {
        model: line
        for model, line in lines.items()
        if line.settings_sha256 == now.get((model.arm, line.epsilon is not None))
        and (all(each.figure not in LOOKS for each in line.figures) or kept.looked(model))
        and _is_after(model, bases.get(model.training), order)
    }


def _is_after(model: Model, base: str | None, order: Mapping[Model, int]) -> bool:
    """Whether a model was measured after the one that it went on from."""
    if base is None:
        return True
    before = order.get(model.model_copy(update={"training": base}))
    return before is not None and before < order[model]


def measure_systems(
    systems: Sequence[System],
    setting: Setting,
    seeds: Sequence[int],
    *,
    work: Path,
    progress: Callable[[Line], None] | None = None,
) -> None:
    """Train and measure every model that has no line yet.

    Args:
        systems: entries.
        setting: how much.
        seeds: of the populations.
        work: where lines, cohorts and outputs are kept.
        progress: called with each new line.
    """
    kept = Kept(work)
    for system in systems:
        done = measured_lines(system, kept)
        waiting: dict[int, dict[str, list[tuple[Model, Arm, Training]]]] = {}
        for each in models_of(system, setting, seeds):
            if each[0] not in done:
                waiting.setdefault(each[0].seed, {}).setdefault(each[1].name, []).append(each)
        for seed, by_arm in waiting.items():
            name = f"{system.population.name}-{setting.n_patients}-{seed}"
            folder = work / "cohorts" / name
            cohorts = take_in_population(
                system.population, folder, seed=seed, n_patients=setting.n_patients
            )
            for models in by_arm.values():
                for line in _measure_arm(system, cohorts, models, kept):
                    if progress:
                        progress(line)


def _measure_arm(
    system: System, cohorts: TakenIn, models: Sequence[tuple[Model, Arm, Training]], kept: Kept
) -> Iterator[Line]:
    """The models of one arm on one population, each kept: its patients are loaded once."""
    declared = cohorts.declared("training")
    arm = models[0][1]
    plan = plan_arm(settings_of(system, arm, is_private=True), declared, run=_RUN)
    wards = cohorts.wards(plan)
    places = places_of(system, wards)
    looked_at = {place for _, _, training in models for place in training.looked_at}
    looks = {  # a model without films looks nowhere
        place: explain_cohorts(cohorts, plan, cohorts_of(system.population, place))
        for place in sorted(looked_at)
        if plan.settings.looks_at_films
    }
    rule = plan.settings.cohort.split
    trains = {site: wards[site].of_split("train", 1, seed=0, rule=rule) for site in declared}
    for model, _, training in models:
        began = time.process_time()
        settings = settings_of(system, arm, is_private=training.is_private)
        group = _group(training, trains, declared)
        if training.base is None:
            trained = train_arm(settings, group, run=_RUN)
        else:
            base = model.model_copy(update={"training": training.base.name})
            trained = train_further(Trained(kept.weights(base), plan), settings, group, run=_RUN)
        scored = {place: score_arm(trained, places[place]) for place in training.places}
        figures = read_further(
            system, arm.name, training, trained, places=places, scored=scored, cohorts=cohorts
        )
        looked = {
            place: look_at(trained, looks[place]) for place in training.looked_at if place in looks
        }
        for place, seen in looked.items():
            figures += measure_looks(seen, decision_of(settings), place=place, arm=arm.name)
        line = Line(
            model=model,
            kind=training.kind,
            epsilon=trained.plan.predicted.training_epsilon,
            patients={place: len(each) for place, each in scored.items()},
            figures=tuple(figures),
            seconds=round(time.process_time() - began, 1),
            date=datetime.now(UTC).date().isoformat(),
            settings_sha256=hash_of(settings.model_dump(mode="json")),
        )
        kept.add(line, scored, trained.weights, looked)
        yield line


def measure_figures(
    system: System, settings: Settings, place: str, scored: Mapping[str, Scored], *, ours: str
) -> tuple[list[Figure], list[Difference]]:
    """Figures of arms at a place and their differences from one: a simulation's, and the system's own.

    Args:
        system: names its figures.
        settings: of its arms; they tell the label.
        place: where the patients are from.
        scored: what each arm says of them.
        ours: the arm that the others are subtracted from.
    """
    decision, follow_up = decision_of(settings), follow_up_of(settings)
    further = further_measures((*system.figures, *system.of_arms), decision, follow_up)
    return measure_place(place, scored, decision, ours=ours, follow_up=follow_up, further=further)


def places_of(system: System, wards: Mapping[str, Ward]) -> dict[str, PatientBatch]:
    """Who is measured: held out, never trained, later; and the later patients of each hospital."""
    population = system.population

    def joined(batches: Sequence[PatientBatch]) -> PatientBatch:
        return join_patients(*(batch.with_films() for batch in batches))

    later = {site: wards[later_name(site)].batch for site in population.with_later}
    held_out = [
        wards[site].batch.select([at for at, each in enumerate(wards[site].splits) if each == INTERNAL])
        for site in population.training
    ]
    places = {INTERNAL: joined(held_out), PROSPECTIVE: joined(list(later.values()))}
    if population.external:
        places[EXTERNAL] = joined([wards[site].batch for site in population.external])
    return places | {site: batch.with_films() for site, batch in later.items()}


def cohorts_of(population: Population, place: str) -> tuple[str, ...]:
    """Whose patients a place is: all of the external hospitals, or the later ones of a hospital."""
    return population.external if place == EXTERNAL else (later_name(place),)


def _group(
    training: Training, patients: Mapping[str, PatientBatch], declared: Mapping[str, int]
) -> arms.Arm:
    """The patients who train together, site by site or as one."""
    sites = {site: patients[site] for site in training.sites}
    sizes = {site: declared[site] for site in training.sites}
    return arms.arms_of(sites, sizes)[arms.POOLED if training.mode == POOLED else arms.FEDERATED]


def _by_place(arrays: Mapping[str, Floats], prefix: str) -> dict[str, Floats]:
    """The arrays whose name begins so, by what follows: a place."""
    return {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}
