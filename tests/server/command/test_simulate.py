"""`simulate` as it is typed: what it hands on, what it shows to people and to programs."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from practice_results import sample_results
from typer.testing import CliRunner

import server.simulation.simulate
from server.command.app import app
from server.simulation.comparison import Comparison, Difference, Division, Figure
from server.simulation.example import write_example
from server.simulation.request import Request
from server.simulation.simulate import Simulation
from shared.learners.refused import refusal_of

FILES = {"comparison.html": "out/comparison.html"}


def found() -> Simulation:
    place = {"place": "internal", "figure": "AUC"}
    division = Division(
        number=1,
        training={"ash": 70},
        patients={"internal": 30},
        figures=tuple(
            Figure(**place, arm=arm, value=0.7) for arm in ("federated", "pooled", "ash alone")
        ),
        differences=tuple(
            Difference(**place, against=arm, value=0.0) for arm in ("pooled", "ash alone")
        ),
    )
    comparison = Comparison(
        run="simulation",
        is_regression=False,
        endpoint="late",
        target="stage",
        unit="",
        training_epsilon=None,
        divisions=(division, division.model_copy(update={"number": 2})),
    )
    return Simulation(sample_results(), comparison, FILES)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Request, Path, list[str]]]:
    """What was asked for; nothing is simulated."""
    calls: list[tuple[Request, Path, list[str]]] = []

    def run(request: Request, folder: Path, *, problems: list[str]) -> Simulation:
        calls.append((request, folder, problems))
        return found()

    monkeypatch.setattr(server.simulation.simulate, "run_request", run)
    return calls


def test_all_that_was_typed_is_handed_on(asked: list[tuple[Request, Path, list[str]]]) -> None:
    words = [
        "simulate",
        "a=a.csv",
        "privacy=off",
        "b=b.csv",
        "--external",
        "c=c.csv",
        "--cohort",
        "my.yaml",
    ]
    done = CliRunner().invoke(
        app, [*words, "--repeats", "3", "--seed", "9", "--folder", "out", "--json"]
    )
    assert done.exit_code == 0, done.output
    [(request, folder, problems)] = asked
    assert request == Request(
        training=(("a", Path("a.csv")), ("b", Path("b.csv"))),
        external=(("c", Path("c.csv")),),
        cohort="my.yaml",
        overrides=("privacy=off",),
        seed=9,
        repeats=3,
    )
    assert (folder, problems) == (Path("out"), [])
    told = json.loads(done.stdout)
    assert set(told) == {"comparison", "results", "files"}
    assert told["comparison"]["divisions"][0]["figures"][0]["value"] == 0.7
    assert told["comparison"]["spread"][0]["sd"] == 0
    assert told["files"] == FILES


def test_a_split_of_the_table_and_a_day_of_the_past_are_handed_on(
    asked: list[tuple[Request, Path, list[str]]],
) -> None:
    typed = ["a=a.csv", "--split-column", "part", "--lock-date", "2021-12-31"]
    done = CliRunner().invoke(app, ["simulate", *typed])
    assert done.exit_code == 0, done.output
    assert asked[0][0] == Request(
        training=(("a", Path("a.csv")),),
        overrides=("cohort.split.column=part",),
        lock_date=date(2021, 12, 31),
    )


def test_people_see_the_sites_tables_the_arms_and_the_files(
    asked: list[tuple[Request, Path, list[str]]],
) -> None:
    done = CliRunner().invoke(app, ["simulate", "all.csv", "--split-by", "clinic"])
    assert done.exit_code == 0, done.output
    for words in ("northgate", "Privacy", "federated − pooled", "ash alone", "out/comparison.html"):
        assert words in done.output
    assert (asked[0][0].split_table, asked[0][0].split_by) == (Path("all.csv"), "clinic")


def test_a_mistake_ends_with_code_1_its_fact_and_its_hint(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    words = ["simulate", "a=none.csv", "--cohort", "none.yaml", "--folder", str(folder)]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert told["error"] == "settings.invalid-simulation"
    assert "a cohort must be a YAML file" in told["fact"]
    assert "nothing was written" in told["hint"]
    assert not folder.exists()


def test_example_tables_are_told_by_hospital_with_their_cohort(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["example", str(tmp_path), "--seed", "3", "--json"])
    assert done.exit_code == 0, done.output
    written = json.loads(done.stdout)
    assert written.pop("cohort") == "hip_table"
    assert sorted(written) == ["aster", "birch", "cedar", "dune"]
    assert all(Path(path).read_text().startswith("patient_id") for path in written.values())
    assert "dune.csv" in CliRunner().invoke(app, ["example", str(tmp_path)]).output


@pytest.mark.parametrize("word", ["learner=xgboost", "learner.early_stopping=true"])
def test_what_cannot_be_private_is_told_with_its_code_and_what_to_use(
    word: str, tmp_path: Path
) -> None:
    tables = write_example(tmp_path / "tables", seed=1)
    refusal = refusal_of(word.removesuffix("=true").removeprefix("learner")[1:])
    assert refusal is not None
    typed = ["simulate", f"aster={tables['aster']}", f"birch={tables['birch']}", word]
    done = CliRunner().invoke(
        app, [*typed, "--cohort", "hip_table", "--folder", str(tmp_path / "out"), "--json"]
    )
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert (told["error"], told["fact"], told["hint"]) == (refusal.code, refusal.fact, refusal.hint)
    assert not (tmp_path / "out").exists()
