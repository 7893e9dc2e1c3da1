"""Models are trained once, on cohorts that the intake made, and what they say is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from practice_experiments import FEW, TWO, keep_invented
from sklearn.metrics import cohen_kappa_score, f1_score

from server.experiments import harness
from server.experiments.harness import (
    LINES,
    Kept,
    Line,
    Model,
    measure_systems,
    measured_lines,
    models_of,
    seeds_of,
    settings_hashes,
    settings_of,
)
from server.experiments.measures import F1, KAPPA
from server.experiments.outcome import outcome_of
from server.experiments.populations import Population
from server.experiments.readings import COLUMNS, DRAWS, IMPORTANCE, KEPT, place_in_table
from server.experiments.system import (
    EPSILON,
    FEDERATED,
    SETTINGS,
    Arm,
    Reading,
    Training,
    leave_one_out,
    swept,
    usual,
)
from server.simulation import arms as simulated
from server.simulation.arms import Trained
from server.simulation.comparison import MACRO
from server.simulation.looks import LOOKS
from shared.contract.decision import decision_of
from shared.contract.settings import Settings
from shared.machine.files import append_line
from shared.measure.exact.regression import measure_regression

ONE_ARM = replace(TWO, arms=TWO.arms[:1], ablations=())


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One arm, measured at hospitals of the demo of a hundred patients each."""
    folder = tmp_path_factory.mktemp("work")
    measure_systems([ONE_ARM], FEW, [101], work=folder)
    return folder


@pytest.fixture(scope="module")
def lines(work: Path) -> dict[str, Line]:
    kept = Kept(work).lines().items()
    return {model.training: line for model, line in kept if model.system == ONE_ARM.name}


def test_every_training_of_the_arm_has_a_line(lines: dict[str, Line]) -> None:
    assert list(lines) == [
        "federated",
        "federated, no privacy",
        "pooled, no privacy",
        *(f"alone: {site}" for site in ("aster", "birch", "cedar")),
    ]
    assert {name: line.epsilon for name, line in lines.items() if line.epsilon is None} == {
        "federated, no privacy": None,
        "pooled, no privacy": None,
    }
    # what the plan's noise gives: never more than was promised
    promised = [line.epsilon for line in lines.values() if line.epsilon is not None]
    assert len(promised) == 4
    assert all(2.9 < epsilon <= EPSILON for epsilon in promised)


def test_a_figure_is_that_of_what_the_model_said_of_each_patient(
    work: Path, lines: dict[str, Line]
) -> None:
    line = lines["federated"]
    rows = [
        row for row in outcome_of(ONE_ARM, FEW, [101], Kept(work)).rows if row.training == "federated"
    ]
    assert {row.figure for row in rows} == set(ONE_ARM.figures)
    for place, scored in Kept(work).scored(line.model).items():
        [found] = [row.mean for row in rows if (row.place, row.figure) == (place, "R²")]
        assert found is not None
        assert found.value == measure_regression(scored.label, scored.outputs[:, 0]).r2
        assert line.patients[place] == len(scored.label)


def test_all_models_of_a_population_read_the_same_patients(work: Path, lines: dict[str, Line]) -> None:
    labels = [
        {place: each.label for place, each in Kept(work).scored(line.model).items()}
        for line in lines.values()
    ]
    for other in labels[1:]:
        assert other.keys() == labels[0].keys() == {"internal", "external", "prospective"}
        for place in other:
            np.testing.assert_array_equal(other[place], labels[0][place])
    # 100 later patients of each of three hospitals, 100 of the one that never trained, a fifth held out
    assert lines["federated"].patients["prospective"] == 300
    assert lines["federated"].patients["external"] == 100
    assert 30 < lines["federated"].patients["internal"] < 90


def test_without_noise_the_federation_is_what_pooled_patients_train(
    work: Path, lines: dict[str, Line]
) -> None:
    ours, pooled = (
        Kept(work).scored(lines[name].model)["prospective"].outputs
        for name in ("federated, no privacy", "pooled, no privacy")
    )
    np.testing.assert_allclose(ours, pooled, atol=1e-5)
    noised = Kept(work).scored(lines["federated"].model)["prospective"].outputs
    assert np.abs(noised - pooled).max() > 1e-3


def test_nothing_is_measured_twice_and_what_a_killed_run_left_torn_is_measured_again(
    work: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(harness, "take_in_population", lambda *_, **__: pytest.fail("cohorts again"))
    measure_systems([ONE_ARM], FEW, [101], work=work)
    texts = (work / harness.LINES).read_text().splitlines(keepends=True)
    (tmp_path / harness.LINES).write_text("".join([*texts[:-1], texts[-1][:40]]))
    kept = Kept(tmp_path)
    assert len(kept.lines()) == len(texts) - 1
    last = Line.model_validate_json(texts[-1])
    kept.add(last, {}, np.zeros(1))
    assert kept.lines()[last.model] == last
    assert len(kept.lines()) == len(texts)


def test_what_is_trained_further_goes_on_from_the_kept_release_of_the_others(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_aster(population: Population) -> tuple[Training, ...]:
        return tuple(each for each in leave_one_out(population) if each.places == ("aster",))[2:]

    further = replace(ONE_ARM, name="further", design=of_aster)
    begun: list[tuple[float, list[str]]] = []

    def go_on(release: Trained, settings: Settings, arm: simulated.Arm, *, run: str) -> Trained:
        begun.append((float(release.weights.sum()), list(arm.patients)))
        return simulated.train_further(release, settings, arm, run=run)

    monkeypatch.setattr(harness, "train_further", go_on)
    measure_systems([further], FEW, [101], work=work)
    kept = Kept(work)
    [release, local] = [model for model in kept.lines() if model.system == "further"]
    assert (release.training, local.training) == (
        "federated, without aster",
        "federated + local: aster",
    )
    assert begun == [(float(kept.weights(release).sum()), ["aster"])]
    moved = np.abs(kept.weights(local) - kept.weights(release)).max()
    assert moved > 1e-3
    ours, own = (kept.scored(model)["aster"] for model in (release, local))
    np.testing.assert_array_equal(ours.label, own.label)
    assert np.abs(ours.outputs - own.outputs).max() > 1e-3


def test_an_arm_with_other_settings_is_another_model() -> None:
    def models(*settings: str) -> set[Model]:
        arm = Arm(name="descent", settings=("experiment=hip_table", *settings))
        return {model for model, *_ in models_of(replace(ONE_ARM, arms=(arm,)), FEW, [101])}

    first, other = models(), models("privacy.clip_norm=1")
    assert len(first) == len(other) == 6
    assert not first & other
    assert not {each.outputs for each in first} & {each.outputs for each in other}


def test_populations_are_those_of_the_setting_or_the_first_of_them() -> None:
    assert seeds_of(SETTINGS["small"]) == (101, 102, 103)
    assert seeds_of(SETTINGS["full"], 2) == (101, 102)


def test_an_arm_that_reads_no_film_is_not_asked_where_it_looks(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "explain_cohorts", lambda *_: pytest.fail("asked"))
    asked = replace(ONE_ARM, name="asked", design=swept)
    measure_systems([asked], FEW, [101], work=work)
    [line] = [line for model, line in Kept(work).lines().items() if model.system == "asked"]
    assert not {figure.figure for figure in line.figures} & set(LOOKS)


def test_a_line_of_other_settings_is_measured_again(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = measured_lines(ONE_ARM, Kept(work))
    assert len(before) == 6
    monkeypatch.setattr(harness, "settings_hashes", lambda _: {("descent", True): "0" * 64})
    assert measured_lines(ONE_ARM, Kept(work)) == {}


def test_the_hash_of_an_arm_is_that_of_what_it_composes_to() -> None:
    seven = Arm(name="seven", settings=("experiment=hip_table", "federation.rounds=7"))
    hashes = settings_hashes(replace(TWO, arms=(TWO.arms[0], seven), ablations=()))
    assert len(set(hashes.values())) == 4


def test_what_else_a_system_asks_stands_in_its_lines_and_follows_from_what_is_kept(work: Path) -> None:
    classes = ("experiment=hip_table", "task=bmd_classes", "learner=lasso", "learner.keep=4")
    further = replace(
        ONE_ARM,
        name="asks_further",
        arms=(Arm(name="four columns", settings=classes),),
        figures=(MACRO, F1, KAPPA),
        readings=(Reading(kind=IMPORTANCE), Reading(kind=COLUMNS)),
        design=lambda population: usual(population)[:2],
    )
    measure_systems([further], FEW, [101], work=work)
    kept = Kept(work)
    [private, other] = measured_lines(further, kept).values()
    rows = outcome_of(further, FEW, [101], kept).rows
    figures = {
        row.figure: row.mean.value
        for row in rows
        if row.mean and (row.kind, row.place) == (FEDERATED, "prospective")
    }
    scored = kept.scored(private.model)["prospective"]
    settings = settings_of(further, further.arms[0], is_private=True)
    called = decision_of(settings).call(scored.outputs)
    f1 = f1_score(scored.label, called, average="macro", labels=range(3))
    assert figures[F1] == pytest.approx(f1)
    kappa = cohen_kappa_score(scored.label, called)
    assert figures[KAPPA] == pytest.approx(kappa)
    # a field that was not kept can move nothing
    named = {place_in_table(each.figure): each.value for each in private.figures}
    columns = {row: value for (kind, row, column), value in named.items() if column == KEPT}
    assert sum(columns.values()) == 4
    rises = {row: value for (kind, row, _), value in named.items() if kind == IMPORTANCE}
    assert set(rises) == {field.name for field in settings.cohort.fields}
    for field, rise in rises.items():
        own = [name for name in columns if name.startswith((f"{field}=", field)) and columns[name]]
        assert own or rise == 0.0, field
    assert any(rises.values())
    draws = [value for (_, _, column), value in named.items() if column == DRAWS]
    assert len(draws) == len(columns)
    assert sum(draws) == pytest.approx(4)
    assert not any(place_in_table(each.figure)[2] == DRAWS for each in other.figures)
    assert {row.figure for row in rows} == {MACRO, F1, KAPPA} | {
        each.figure for each in private.figures
    }


def test_what_went_on_from_a_release_that_was_measured_anew_is_measured_again(tmp_path: Path) -> None:
    system = replace(TWO, arms=TWO.arms[:1], ablations=(), design=leave_one_out)
    kept = keep_invented(tmp_path, {"descent": 0.05}, system=system)
    before = measured_lines(system, kept)
    base = next(model for model in before if model.training == "federated, without aster")
    local = base.model_copy(update={"training": "federated + local: aster"})
    assert local in before
    append_line(tmp_path / LINES, before[base].model_dump_json().encode() + b"\n")
    after = measured_lines(system, kept)
    assert before.keys() - after.keys() == {local}
