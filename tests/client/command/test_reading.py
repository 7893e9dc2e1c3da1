"""Reading an exam by command at a hospital that was on no roster and was sent no encoder."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from late_hospital import Hospital, new_hospital

from server.federation.compose import compose_settings
from server.federation.folder import Enrolled, Home, create_home
from server.federation.plan import draft_plan, save_plan
from server.run.folder import RunStore
from server.run.prepare import prepare
from server.run.release import make_release
from server.run.stage_folder import Contribution, RoundState
from server.synthetic.folder import write_later_films
from server.synthetic.hospitals import DEMO_SITES
from shared.contract.release import copy_release
from shared.contract.validation_summary import (
    SummaryFigure,
    SummaryRow,
    ValidationSummary,
    write_summary,
)
from shared.stages.stage_sum import StageState

NOW = datetime(2026, 1, 5, tzinfo=UTC)
VALUES = ("-v", "age=70", "-v", "sex=female")


class Handed:
    """A release's folder as a hospital was handed it, and whose it is."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.home = create_home(folder / "home")
        self.key = self.home.key().public_hex
        store = _finished(self.home, settings or ("fusion=linear",))
        release = make_release(store, self.home.key())
        self.sha256, self.folder = release.sha256, folder / "handed"
        copy_release(store.release_folder, self.folder)


def _finished(home: Home, said: tuple[str, ...]) -> RunStore:
    site = Enrolled(
        site="aster", public_key="1" * 64, declared_patients=100, role="training", enrolled_utc=""
    )
    settings = compose_settings([*said, "federation.rounds=1"])
    key = home.key().public_hex
    save_plan(home, draft_plan(settings, [site], run="spring", coordinator_key=key, now=NOW))
    store = prepare(home, "spring")
    weights = np.linspace(-1, 1, store.training.last_committed().vector.size, dtype=np.float32)
    part = Contribution(site="aster", weight=1.0, total_sha256="", ledger_head="")
    state = StageState(round=1, vector=weights)
    store.training.commit(RoundState(state=state, contributions=(part,)))
    store.write_averaged(weights)
    return store


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    write_later_films(folder, DEMO_SITES[0], 1, date(2024, 3, 1), n_new=1, n_seen=0, n_days=1)
    return sorted((folder / "films").glob("*.dcm"))[0]


@pytest.fixture
def handed(tmp_path: Path) -> Handed:
    return Handed(tmp_path)


@pytest.fixture
def read(handed: Handed, film: Path, tmp_path: Path) -> Callable[..., dict[str, object]]:
    """What `predict` tells a hospital in no federation of one film."""
    kay: Hospital = new_hospital(tmp_path / "kay")

    def told(*more: str, key: str | None = None) -> dict[str, object]:
        said = ("--coordinator", key or handed.key, *VALUES, *more)
        return kay.told("predict", str(handed.folder), str(film), *said)

    return told


def test_a_release_reads_a_film_where_nobody_trained_and_shows_what_was_validated(
    read: Callable[..., dict[str, object]], handed: Handed
) -> None:
    first = read()
    assert (first["unit"], first["probability_of"]) == ("g/cm2", None)
    assert first["validation"] == []
    figures = {"auc": SummaryFigure(value=0.8, low=0.7, high=0.9)}
    row = SummaryRow(kind="internal", n_sites=3, release_class="dp", epsilon=3.0, figures=figures)
    summary = ValidationSummary(release_sha256=handed.sha256, run="spring", rows=(row,))
    write_summary(handed.folder, summary, handed.home.key())
    again = read()
    assert again["value"] == first["value"]
    assert again["validation"] == [row.model_dump(mode="json")]


def test_a_release_that_is_not_whole_or_not_its_coordinators_reads_nothing(
    read: Callable[..., dict[str, object]], handed: Handed
) -> None:
    assert read(key="0" * 64)["error"] == "weights.bad-signature"
    encoder = handed.folder / "encoder.safetensors"
    encoder.write_bytes(encoder.read_bytes()[:-1])
    assert read()["error"] == "weights.wrong-encoder"
    np.save(handed.folder / "weights.npy", np.ones(3, dtype=np.float32))
    assert read()["error"] == "weights.mixed-release"


def test_the_map_that_is_asked_for_is_drawn_and_what_is_to_be_said_of_it_is_said(
    read: Callable[..., dict[str, object]], tmp_path: Path
) -> None:
    usual, seen = read(), read("--map", "gradcam", "--heat-map", str(tmp_path / "cam.png"))
    assert [told["map"] for told in (usual, seen)] == ["occlusion", "gradcam"]
    assert (usual["value"], usual["map_notes"]) == (seen["value"], [])
    assert (tmp_path / "cam.png").read_bytes().startswith(b"\x89PNG")
    fitted = read("--map", "lime", "--heat-map", str(tmp_path / "lime.png"))
    [note] = fitted["map_notes"]
    assert "stability" in note
    is_drawn = fitted["heat_map"] is not None
    assert is_drawn == (not note.startswith("not reliable")) == (tmp_path / "lime.png").exists()


def test_a_table_is_scored_into_a_file_for_the_hospital_only(tmp_path: Path) -> None:
    handed = Handed(tmp_path, "encoder=none", "fusion=clinical_only")
    kay = new_hospital(tmp_path / "kay")
    rows, out = tmp_path / "rows.csv", tmp_path / "scores.csv"
    rows.write_text(
        "patient_id,exam_date,age,sex,height,weight,bmi,alcohol,activity,smoking,prior_fracture\n"
        "P1,2024-05-06,70,female,,,,,,,\nP2,2024-05-06,7,female,,,,,,,\n"
    )
    said = ("predict", str(handed.folder), "--coordinator", handed.key, "--table", str(rows))
    told = kay.told(*said, "--out", str(out))
    assert (told["rows"], told["with a score"]) == (2, 1)
    one = kay.told("predict", str(handed.folder), "--coordinator", handed.key, *VALUES)
    assert f"{one['value']:.4f}" in out.read_text()
    assert "intake.out-of-range" in out.read_text()
    assert kay.told(*said, "--out", str(out))["error"] == "intake.file-exists"
    assert kay.told(*said, "-v", "age=70")["error"] == "intake.table-or-exam"
