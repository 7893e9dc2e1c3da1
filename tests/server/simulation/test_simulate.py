"""A simulation as a data scientist calls it: once, cut off, again, with other inputs, with mistakes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import practice_federation as practice
import pytest
from practice_png_tree import write_tree
from simulated_tables import (
    CLASSES,
    FAST,
    NUMBER,
    OF_NUMBER,
    rows_of,
    write_cohort,
    write_one_table,
    write_rows,
    write_tables,
)

import server.engines.loopback
from client.cohort.patients import load_split
from client.cohort.versions import current_cohort, prospective_name
from client.gate.ledger import Ledger
from client.reading.predict import predict
from client.site.folder import open_site
from server.engines.loopback import Launch
from server.federation.compose import cohort_file, compose_settings
from server.run.folder import RunStore, open_run
from server.simulation.arms import Trained, score_arm
from server.simulation.hospitals import Folders, declared_size, require_patients, split_cells
from server.simulation.play import measure_stage
from server.simulation.request import Request
from server.simulation.simulate import Simulation, check, simulate
from shared.contract.decision import decision_of
from shared.contract.release import read_lock, read_release
from shared.errors import EngineError, RunError, SettingsError
from shared.exam.schema import read_schema
from shared.train.patients import PatientBatch, join_patients

EXTERNAL = "hop"


@dataclass(frozen=True)
class Case:
    """A finished simulation, and what it was called with."""

    folder: Path
    tables: dict[str, Path]
    cohort: Path
    found: Simulation

    def again(self, *settings: str, repeats: int = 1) -> Simulation:
        """The same call once more, with further settings."""
        return simulate(
            {site: path for site, path in self.tables.items() if site != EXTERNAL},
            external={EXTERNAL: self.tables[EXTERNAL]},
            cohort=self.cohort,
            settings=["privacy=off", *FAST, *OF_NUMBER, *settings],
            folder=self.folder,
            repeats=repeats,
        )


def charges(folder: Path, site: str) -> int:
    """How many charges a hospital's ledger holds."""
    opened = open_site(folder / "sites" / site)
    ledger = Ledger(opened.folder / "ledger", site=site, key=opened.key, clock=opened.clock)
    rows = ledger.account_for(allowance=opened.policy.allowance).rows(trusted_key=opened.key.public_hex)
    return sum(row.kind == "charge" for row in rows)


def held_out(
    folder: Path, sites: list[str], name: str = "invented_disease"
) -> tuple[Trained, PatientBatch]:
    """The release of a simulation, and the internal patients of some hospitals."""
    store = open_run(folder / "coordinator" / "runs" / "simulation")
    release = read_release(store.release_folder, coordinator_key=store.plan.coordinator_key)
    batches = [
        load_split(open_site(folder / "sites" / site), store.plan, name=name, split="internal").batch
        for site in sites
    ]
    return Trained(release.weights, store.plan), join_patients(*batches)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Three hospitals that train and one that does not, without noise; cut off once on the way."""
    folder = tmp_path_factory.mktemp("plain")
    tables, cohort = write_tables(folder), write_cohort(folder / "my cohort.yaml", NUMBER)
    case = Case(folder / "out", tables, cohort, None)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        launch = server.engines.loopback.launch_stage

        def cut_off(store, stage, **given):
            if stage == "internal":
                raise EngineError("killed", "somebody closed the lid")
            launch(store, stage, **given)

        patch.setattr(server.engines.loopback, "launch_stage", cut_off)
        with pytest.raises(EngineError):
            case.again()
    assert not (case.folder / "report.html").exists()
    return Case(case.folder, tables, cohort, case.again())


def value(found: Simulation, place: str, arm: str, figure: str, division: int = 1) -> float:
    table = found.arms
    rows = table[
        (table.place == place)
        & (table.arm == arm)
        & (table.figure == figure)
        & (table.division == division)
    ]
    [only] = rows.value
    return float(only)


def test_a_simulation_that_was_cut_off_goes_on_and_charges_nobody_twice(plain: Case) -> None:
    # four rounds and one table; an external hospital one table
    assert {site: charges(plain.folder, site) for site in plain.tables} == {
        "ash": 5,
        "elm": 5,
        "oak": 5,
        "hop": 1,
    }


def test_without_noise_sums_of_all_hospitals_train_what_pooled_patients_train(plain: Case) -> None:
    for place in ("internal", EXTERNAL):
        for figure in ("R²", "MAE", "AUC"):
            federated, pooled = (
                value(plain.found, place, arm, figure) for arm in ("federated", "pooled")
            )
            assert federated == pytest.approx(pooled, abs=1e-5)
    assert value(plain.found, "internal", "ash alone", "R²") != pytest.approx(
        value(plain.found, "internal", "federated", "R²"), abs=1e-5
    )


def test_the_federated_arm_is_the_release_on_everybody_held_out(plain: Case) -> None:
    release, patients = held_out(plain.folder, ["ash", "elm", "oak"])
    scored = score_arm(release, patients)
    error = scored.outputs[:, 0] - scored.label
    r2 = 1 - (error**2).sum() / ((scored.label - scored.label.mean()) ** 2).sum()
    assert value(plain.found, "internal", "federated", "R²") == pytest.approx(r2)
    assert value(plain.found, "internal", "federated", "MAE") == pytest.approx(np.abs(error).mean())
    assert plain.found.comparison.first.patients == {"internal": len(error), "hop": 90}


def test_who_has_seen_nobody_ranks_nobody(plain: Case) -> None:
    for place in ("internal", EXTERNAL):
        assert value(plain.found, place, "untrained", "AUC") == 0.5
        assert value(plain.found, place, "untrained", "R²") <= 0.0
    page = (plain.folder / "comparison.html").read_text()
    assert "has seen no patient" in page
    assert "clinical only" not in page, "tables have no film to leave out"


def test_plan_report_and_page_say_that_the_run_was_simulated(plain: Case) -> None:
    store = open_run(plain.folder / "coordinator" / "runs" / "simulation")
    assert store.plan.settings.is_simulated
    assert json.loads((plain.folder / "report.json").read_bytes())["is_simulated"]
    for page in ("report.html", "comparison.html"):
        assert "simulated" in (plain.folder / page).read_text().lower()
    assert plain.found.results.experiment == "invented_disease"


def test_the_same_call_repeats_nothing_and_more_divisions_are_added(plain: Case) -> None:
    def bytes_of() -> dict[str, bytes]:
        kept = ("coordinator/runs/*/release/*", "divisions/0001.json", "sites/*/ledger/*.jsonl")
        return {
            str(path): path.read_bytes()
            for pattern in kept
            for path in sorted(plain.folder.glob(pattern))
        }

    before = bytes_of()
    assert len(before) > 4
    found = plain.again(repeats=2)
    assert bytes_of() == before
    assert value(found, "internal", "pooled", "R²", 2) == pytest.approx(
        value(found, "internal", "federated", "R²", 2), abs=1e-5
    )
    assert value(found, "internal", "pooled", "R²", 2) != value(found, "internal", "pooled", "R²", 1)
    spread = found.spread
    [row] = spread[
        (spread.place == "internal") & (spread.arm == "pooled") & (spread.figure == "R²")
    ].to_dict("records")
    both = [value(found, "internal", "pooled", "R²", number) for number in (1, 2)]
    assert (row["mean"], row["sd"]) == (
        pytest.approx(np.mean(both)),
        pytest.approx(np.std(both, ddof=1)),
    )


def test_other_inputs_are_refused_with_what_differs(plain: Case, tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        plain.again("seed=7")
    assert caught.value.code == "run.other-simulation"
    assert "settings.seed: 1 then, 7 now" in caught.value.fact
    other = write_rows(tmp_path / "x.csv", [dict.fromkeys(("a", "b"), "1")])
    changed = Case(plain.folder, plain.tables | {"ash": plain.tables["elm"]}, plain.cohort, plain.found)
    with pytest.raises(RunError, match="hospital ash: another table"):
        changed.again()
    with pytest.raises(RunError, match="not written by a simulation"):
        Case(other.parent, plain.tables, plain.cohort, plain.found).again()


def test_results_are_data_frames_for_a_notebook(plain: Case) -> None:
    found = plain.found
    assert list(found.arms) == ["division", "place", "arm", "figure", "value", "low", "high"]
    assert list(found.differences) == [
        *("division", "place", "against", "figure", "value", "low", "high", "p", "p_adjusted")
    ]
    table = found.arms.pivot_table("value", "arm", ["place", "figure"])
    assert set(table.index) == {
        "federated",
        "pooled",
        "ash alone",
        "elm alone",
        "oak alone",
        "untrained",
    }
    assert {"internal", "external"} == set(found.validation.kind)
    assert found.spread.empty
    assert list(found.spread) == ["place", "arm", "against", "figure", "mean", "sd", "n"]
    assert set(found.files) == {*("report.html", "report.json", "comparison.html", "comparison.json")}


def test_a_table_is_split_by_a_column_and_trained_with_noise_on_three_classes(
    tmp_path: Path,
) -> None:
    table = write_one_table(tmp_path / "all.csv")
    found = simulate(
        table,
        split_by="clinic",
        external=["Hop Hall"],
        cohort=write_cohort(tmp_path / "c.yaml", CLASSES),
        settings=["privacy.epsilon=1", "learner=naive_bayes", "federation.poll_s=0.01"],
        folder=tmp_path / "out",
    )
    assert {site.site: site.role for site in found.results.sites} == {
        "ash-hall": "training",
        "elm-hall": "training",
        "oak-hall": "training",
        "hop-hall": "external",
    }
    spent = [row.training_epsilon for row in found.results.privacy]
    assert all(epsilon is not None and epsilon <= 1 for epsilon in spent)
    assert max(epsilon for epsilon in spent if epsilon) > 0.9
    of_classes = {"macro AUC", *(f"AUC, {name}" for name in ("early", "middle", "late"))}
    assert set(found.arms.figure) == {"AUC", "accuracy", *of_classes}
    # pooled and federated were trained with noise of their own
    assert value(found, "internal", "federated", "AUC") != value(found, "internal", "pooled", "AUC")
    release, patients = held_out(tmp_path / "out", ["ash-hall", "elm-hall", "oak-hall"])
    scored, rule = score_arm(release, patients), decision_of(release.plan.settings)
    assert rule.classes == ("early", "middle", "late")
    right = (rule.call(scored.outputs) == scored.label).mean()
    assert value(found, "internal", "federated", "accuracy") == pytest.approx(right)


def test_every_mistake_is_told_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    tables = write_tables(tmp_path)
    short = write_rows(tmp_path / "short.csv", [{"patient_id": "1", "exam_date": "2021-01-01"}])
    with pytest.raises(SettingsError) as caught:
        simulate(
            [("ash", tables["ash"]), ("ash", tables["elm"]), ("No Name", tables["oak"])],
            external={"gone": tmp_path / "gone.csv", "short": short},
            cohort=write_cohort(tmp_path / "c.yaml", NUMBER),
            settings=["privacy.epsilon=-1", "fusion=magic"],
            folder=tmp_path / "out",
            repeats=0,
            lock_date="30.06.2021",
        )
    assert caught.value.code == "settings.invalid-simulation"
    for words in (
        "8 things",
        "ash: 2 hospitals have this name",
        "No Name: a hospital's name must be",
        f"gone: there is no file {tmp_path / 'gone.csv'}",
        "short: the table lacks age, marker, sex, capacity; expected",
        "privacy.epsilon",
        "fusion: must be one of",
        "repeats: must be 1 or more, not 0",
        "lock_date: must be a day as 2021-06-30, not 30.06.2021",
    ):
        assert words in caught.value.fact
    assert not (tmp_path / "out").exists()


def test_a_cohort_that_cannot_be_read_is_told_alone(tmp_path: Path) -> None:
    tables, cohort = write_tables(tmp_path), write_cohort(tmp_path / "c.yaml", NUMBER)
    cohort.write_text(cohort.read_text().replace("low:", "lo:", 1))
    with pytest.raises(SettingsError, match=r"1 thing must be put right|2 things") as caught:
        simulate({"ash": tables["ash"]}, cohort=cohort, folder=tmp_path / "out")
    assert "fields.age.lo: is not a setting; did you mean low?" in caught.value.fact
    assert "films" not in caught.value.fact


def test_a_field_in_words_that_nobody_knows_stops_a_simulation(tmp_path: Path) -> None:
    rows = [row | {"sex": "mann"} for row in rows_of("ash")]
    table = write_rows(tmp_path / "ash.csv", rows)
    with pytest.raises(SettingsError, match=r"ash: sex: intake\.unknown-category in 110 of 110 rows"):
        simulate(
            {"ash": table}, cohort=write_cohort(tmp_path / "c.yaml", NUMBER), folder=tmp_path / "out"
        )


def test_a_cohort_that_holds_nobody_out_needs_an_external_hospital(tmp_path: Path) -> None:
    tables, cohort = write_tables(tmp_path), write_cohort(tmp_path / "c.yaml", NUMBER)
    everybody = ["cohort.split.train=1", "cohort.split.internal=0"]
    with pytest.raises(SettingsError, match=r"cohort\.split\.internal: must be above 0"):
        simulate({"ash": tables["ash"]}, cohort=cohort, settings=everybody, folder=tmp_path / "out")


def test_a_hospital_declares_its_training_patients_in_two_digits(tmp_path: Path) -> None:
    settings = compose_settings(OF_NUMBER, cohort=write_cohort(tmp_path / "c.yaml", NUMBER))
    assert settings.cohort.split.train == 0.7
    for n_patients, declared in ((1, 1), (90, 63), (1234, 860), (30_000, 21_000)):
        hospital = SimpleNamespace(n_patients=n_patients)
        assert declared_size(hospital, settings) == declared


def test_one_table_and_the_column_that_splits_it_belong_together(tmp_path: Path) -> None:
    tables, cohort = write_tables(tmp_path), write_cohort(tmp_path / "c.yaml", NUMBER)
    for sources, column in ((tables["ash"], None), ({"ash": tables["ash"]}, "clinic")):
        with pytest.raises(SettingsError, match="split_by: must be given with one table"):
            simulate(sources, split_by=column, cohort=cohort, folder=tmp_path / "out")


def test_a_bare_table_with_its_own_split_is_enough(tmp_path: Path) -> None:
    cohort = write_cohort(
        tmp_path / "c.yaml", NUMBER, patient_column=None, date_column=None, name="bare_rows"
    )
    tables = {}
    for site in ("ash", "elm"):
        rows = [
            {
                **{name: row[name] for name in ("age", "marker", "sex", "capacity")},
                "part": "test" if place % 4 == 0 else "train",
            }
            for place, row in enumerate(rows_of(site))
        ]
        tables[site] = write_rows(tmp_path / f"{site}.csv", rows)
    asked = {"cohort": cohort, "folder": tmp_path / "out", "split_column": "part"}
    of_high = ["task=regression", "task.endpoint_side=above", "privacy=off", *FAST]
    with pytest.raises(SettingsError, match="repeats: must be 1, since column part says who trains"):
        simulate(tables, settings=of_high, repeats=2, **asked)
    found = simulate(tables, settings=of_high, **asked)
    assert found.results.task.endpoint_rule == "capacity ≥ 3 l"
    assert {row.kind for row in found.results.validation} == {"internal"}, "nobody can be later"
    assert value(found, "internal", "federated", "AUC") > 0.8
    batch = held_out(tmp_path / "out", ["ash", "elm"], name="bare_rows")[1]
    assert len(batch) == sum((len(rows_of(site)) + 3) // 4 for site in tables)


def test_balanced_splits_are_for_what_promises_nothing(tmp_path: Path) -> None:
    tables, cohort = write_tables(tmp_path), write_cohort(tmp_path / "c.yaml", CLASSES)
    asked = {"cohort": cohort, "folder": tmp_path / "out"}
    sources = {site: tables[site] for site in ("ash", "elm")}
    balanced = ["cohort.split.stratified=true", *FAST]
    for settings in (balanced, [*balanced, "privacy=off"]):
        with pytest.raises(SettingsError, match="stratified needs privacy off"):
            simulate(sources, settings=settings, **asked)
    exact = ["privacy=off", "validation.release_class=governed"]
    simulate(sources, settings=[*balanced, *exact], **asked)
    for site, path in sources.items():
        cohort_now = current_cohort(open_site(tmp_path / "out" / "sites" / site), "invented_disease")
        for stage in CLASSES["classes"]:
            own = [exam.split for exam in cohort_now.exams if exam.label.class_name == stage]
            assert own.count("train") == round(0.7 * len(own)), (path, stage)


def test_hospitals_of_which_an_intake_leaves_too_few_are_named_before_a_plan_is_written(
    plain: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = tuple((site, path) for site, path in plain.tables.items() if site != EXTERNAL)
    _, hospitals = check(Request(training=trained, cohort=plain.cohort))
    schema, folders = read_schema(plain.cohort), Folders(plain.folder)
    require_patients(folders, hospitals, schema)
    most = max(each.n_training for each in hospitals)
    # what films that cannot be used would do: fewer are left than rows promised
    monkeypatch.setattr("server.simulation.sources.LEAST_TRAINING", most)
    with pytest.raises(RunError) as caught:
        require_patients(folders, hospitals, schema)
    assert caught.value.code == "run.too-few-patients"
    few = [each for each in hospitals if each.n_training < most]
    assert len(caught.value.fact.splitlines()) == 1 + len(few) < 1 + len(hospitals)
    for each in few:
        assert f"  {each.name}: {each.n_training} patients with a label" in caught.value.fact


@pytest.mark.parametrize(
    ("settings", "is_told"),
    [
        (["privacy=off"], True),
        (["privacy=off", "validation.release_class=governed"], False),
        (["privacy.epsilon=1"], False),
    ],
)
def test_privacy_off_says_that_tables_keep_their_noise_and_how_they_are_exact(
    settings: list[str], is_told: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    request = Request(
        training=(("ash", write_rows(tmp_path / "ash.csv", rows_of("ash"))),),
        cohort=write_cohort(tmp_path / "c.yaml", NUMBER),
        overrides=tuple(settings),
    )
    check(request)
    said = "keeps its own, ε = 3 a table, unless you add validation.release_class=governed"
    assert (said in capfd.readouterr().err) is is_told


def test_a_release_is_measured_on_who_came_after_a_day_of_the_past(tmp_path: Path) -> None:
    tables, later = {}, {}
    for site in ("ash", "elm", "hop"):
        rows = rows_of(site)
        n_late = {"ash": 31, "elm": 45, "hop": 0}[site]
        for place, row in enumerate(rows):
            row["exam_date"] = "2023-05-01" if place < n_late else "2020-05-01"
        # somebody who comes again is not new
        rows.append(rows[-1] | {"exam_date": "2023-06-01"})
        tables[site], later[site] = write_rows(tmp_path / f"{site}.csv", rows), n_late
    asked = {
        "external": {"hop": tables.pop("hop")},
        "cohort": write_cohort(tmp_path / "c.yaml", NUMBER),
        "folder": tmp_path / "out",
        "settings": ["privacy=off", *FAST, "privacy.max_exams=1"],
        "lock_date": "2021-12-31",
    }
    found = simulate(tables, **asked)
    rows = {row.site: row for row in found.results.validation if row.kind == "prospective"}
    # nobody came to hop, which answers all the same
    assert {rows[name].status for name in ("ash", "elm", "hop")} == {"measured"}
    store = open_run(tmp_path / "out" / "coordinator" / "runs" / "simulation")
    lock = read_lock(store.lock_file, coordinator_key=store.plan.coordinator_key)
    assert str(lock.locked_utc.date()) == "2021-12-31"
    for name in tables:
        site = open_site(tmp_path / "out" / "sites" / name)
        cohort = current_cohort(site, "invented_disease")
        assert len(cohort.patients()) == len(rows_of(name)) - later[name]
        accrued = current_cohort(site, prospective_name("invented_disease", lock.sha256))
        assert len(accrued.patients()) == later[name]
    before = charges(tmp_path / "out", "ash")
    simulate(tables, **asked)
    assert charges(tmp_path / "out", "ash") == before
    with pytest.raises(RunError, match="lock date"):
        simulate(tables, **(asked | {"lock_date": None}))


def test_the_only_mistake_keeps_its_own_code_and_hint(tmp_path: Path) -> None:
    tables, cohort = write_tables(tmp_path), write_cohort(tmp_path / "c.yaml", NUMBER)
    with pytest.raises(SettingsError) as caught:
        simulate(tables, cohort=cohort, settings=["learner=knn"], folder=tmp_path / "out")
    assert caught.value.code == "settings.stored-neighbours"
    assert "cohort-schema" not in str(caught.value.hint)


def test_a_table_of_cohorts_gives_an_external_hospital_no_split() -> None:
    members = {None: "abcde", "train": "abc", "internal": "de"}
    cohort = SimpleNamespace(patients=lambda split=None: members[split])
    assert split_cells(cohort, "training") == ("3", "2")
    assert split_cells(cohort, "external") == ("–", "everybody, 5")


def test_hospitals_with_trees_of_png_files_train_a_model_that_reads_such_a_file(tmp_path: Path) -> None:
    n_patients = 60
    text = (
        cohort_file("mura_wrist").read_text().replace("train: 0.7, tune: 0.1", "train: 0.9, tune: 0.0")
    )
    (tmp_path / "wrist.yaml").write_text(text.replace("internal: 0.2", "internal: 0.1"))
    drawn = {
        site: write_tree(tmp_path / site / "films", site, n_patients) for site in ("hazel", "alder")
    }
    out = tmp_path / "out"
    found = simulate(
        {site: tmp_path / site for site in drawn},
        cohort=tmp_path / "wrist.yaml",
        settings=["privacy=off", "fusion=image_only", "encoder=tiny", *FAST],
        folder=out,
    )
    assert 0.0 <= value(found, "internal", "federated", "AUC") <= 1.0
    for site, labels in drawn.items():
        exams = current_cohort(open_site(out / "sites" / site), "mura_wrist").exams
        assert sorted(exam.label.class_name for exam in exams) == sorted(labels.values())
    store = open_run(out / "coordinator" / "runs" / "simulation")
    release = read_release(store.release_folder, coordinator_key=store.plan.coordinator_key)
    film = next((tmp_path / "hazel").rglob("*.png"))
    reading = predict(release, [film], {})
    assert sum(reading.probabilities.values()) == pytest.approx(1.0)
    exams = current_cohort(open_site(out / "sites" / "hazel"), "mura_wrist")
    assert any(np.array_equal(reading.films[0], image) for image in exams.images)


def test_a_hospital_that_refuses_a_measure_is_told_and_the_simulation_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def launch_ending(reason: str) -> Launch:
        def launch(store: RunStore, stage: str) -> None:
            raise RunError(reason, f"{stage} lacks a result of hop")

        return launch

    store, _ = practice.found_federation(tmp_path, n_sites=1)
    measure_stage(store, "internal", launch_ending("incomplete-stage"))
    assert "internal lacks a result of hop" in capfd.readouterr().err
    with pytest.raises(RunError, match="internal lacks"):
        measure_stage(store, "internal", launch_ending("not-locked"))
