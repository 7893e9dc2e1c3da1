"""Commands without hospitals hand on what was typed, and tell what was made."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
from practice_results import sample_results
from typer.testing import CliRunner

import server.demo.loopback
import server.demo.play
import server.encoders.pack_weights
import server.encoders.pretrain
import server.encoders.pretrain_landmark
import server.encoders.public_clusters
import server.experiments.figures
from server.command.app import app
from server.encoders.file import CONFIG_WEIGHTS
from server.encoders.pretrain import LESSONS
from server.encoders.pretrain_landmark import pretrain_landmark as pretrain_landmark_anew
from shared.contract.settings import Settings
from shared.learners.varclus import PublicColumn
from shared.signing.canonical import hash_file

Seen = list[tuple[tuple[object, ...], dict[str, object]]]


def told(*words: str) -> dict[str, object]:
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """What the demo, loopback, figures, pretraining and packing were asked for."""
    calls: Seen = []

    def note(answer: object):
        def call(*arguments: object, **given: object) -> object:
            calls.append((arguments, given))
            return answer

        return call

    made = (sample_results(), {"report.html": "demo/report.html"})
    monkeypatch.setattr(server.demo.play, "play_demo", note(made))
    monkeypatch.setattr(server.demo.loopback, "play_loopback", note({"committed rounds": 3}))
    monkeypatch.setattr(
        server.experiments.figures, "measure_figures", note({"README.md": Path("README.md")})
    )
    monkeypatch.setattr(server.encoders.pretrain, "pretrain", note("a" * 64))
    monkeypatch.setattr(server.encoders.pretrain_landmark, "pretrain_landmark", note("c" * 64))
    monkeypatch.setattr(server.encoders.pack_weights, "pack_checkpoint", note("b" * 64))
    return calls


def test_an_audited_demo_trains_canaries_unless_somebody_chose_how_many(seen: Seen) -> None:
    assert told("demo", "--audit", "privacy.canaries=40")["files"] == {
        "report.html": "demo/report.html"
    }
    told("demo", "--seed", "3", "fusion=linear")
    (_, audited), (_, plain) = seen
    assert audited["overrides"] == ["privacy.canaries=1000", "privacy.canaries=40"]
    assert (audited["is_audited"], plain["is_audited"]) == (True, False)
    assert (plain["overrides"], plain["seed"]) == (["fusion=linear"], 3)


def test_a_demo_shows_its_tables_to_people(seen: Seen) -> None:
    shown = CliRunner().invoke(app, ["demo"]).output
    for words in ("northgate", "Privacy", "demo/report.html"):
        assert words in shown


def test_loopback_figures_and_pretraining_hand_on_their_options(seen: Seen, tmp_path: Path) -> None:
    assert told("loopback", "federation.rounds=3") == {"committed rounds": 3}
    assert told("figures", "--seeds", "2", "--evaluated", "300") == {"README.md": "README.md"}
    assert told("pretrain", "--films", "64", "--seed", "5")["sha256"] == "a" * 64
    loopback, figures, pretrain = (given for _, given in seen)
    assert loopback["overrides"] == ["federation.rounds=3"]
    assert (figures["n_seeds"], figures["n_evaluated"]) == (2, 300)
    assert (pretrain["n_films"], pretrain["seed"], pretrain["encoder"]) == (64, 5, "tiny")


def test_a_stand_in_is_written_beside_its_yaml(seen: Seen) -> None:
    assert told("pretrain", "standin_vgg")["weights"] == ("configs/encoder/standin_vgg.safetensors")
    [(arguments, given)] = seen
    assert arguments == (Path("configs/encoder/standin_vgg.safetensors"),)
    assert (given["encoder"], given["n_films"]) == ("standin_vgg", None)


def test_either_shipped_network_is_made_anew_as_it_was_unless_told_otherwise(seen: Seen) -> None:
    assert told("pretrain")["weights"] == "configs/encoder/tiny.safetensors"
    landmark = told("pretrain", "landmark", "--seed", "0")
    assert landmark["sha256"] == "c" * 64
    assert landmark["weights"] == "shared/exam/landmarks/hip.safetensors"
    (_, encoder), (_, other) = seen
    assert encoder["n_films"] is None, "its recipe says"
    default = inspect.signature(pretrain_landmark_anew).parameters["n_films"].default
    assert other["n_films"] == default
    assert (encoder["seed"], other["seed"]) == (20_241, 0)


def test_a_packed_checkpoint_is_told_as_settings(seen: Seen, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(b"x")
    out = tmp_path / "packed.safetensors"
    words = ("weights", str(checkpoint), "--encoder", "resnet34", "--out", str(out))
    settings = str(told(*words)["settings"])
    assert [given["layout"] for _, given in seen] == [None]
    told(
        "weights", str(checkpoint), "--encoder", "resnet50", "--layout", "radimagenet-torch", *words[4:]
    )
    assert (seen[-1][1]["encoder"], seen[-1][1]["layout"]) == ("resnet50", "radimagenet-torch")
    assert settings == f"encoder=resnet34 encoder.weights={out} encoder.sha256={'b' * 64}"


def test_phantoms_named_are_drawn_as_sheets_and_hospitals_only_where_patients_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import server.synthetic.phantoms.folder
    import server.synthetic.phantoms.sheet

    written: list[tuple[str, str, int, int]] = []

    def write(folder: Path, name: str, hospital: str, seed: int, *, n_patients: int) -> None:
        written.append((name, hospital, seed, n_patients))
        folder.mkdir(parents=True)

    monkeypatch.setattr(server.synthetic.phantoms.sheet, "write_sheet", lambda *_, **__: ("x",))
    monkeypatch.setattr(server.synthetic.phantoms.folder, "write_hospital", write)
    sheets = told("phantoms", "wrist", "spine", "--folder", str(tmp_path))
    assert list(sheets) == [str(tmp_path / f"phantom-{name}.png") for name in ("wrist", "spine")]
    assert not written
    told("phantoms", "wrist", "--folder", str(tmp_path), "--patients", "5", "--seed", "3")
    assert len(written) == 8
    assert {entry[:1] + entry[2:] for entry in written} == {("wrist", 3, 5)}
    assert (tmp_path / "wrist" / "larch.profile.yaml").is_file()


def test_every_encoder_with_a_lesson_can_be_named(seen: Seen) -> None:
    for name in LESSONS:
        assert told("pretrain", name)["weights"] == f"configs/encoder/{name}.safetensors"


def test_cells_are_added_to_a_file_on_the_films_of_its_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import server.encoders.public_cells as public_cells

    asked: list[tuple[Path, Path, str]] = []

    def add(path: Path, out: Path, films: str) -> str:
        asked.append((path, out, films))
        return "c" * 64

    monkeypatch.setattr(
        public_cells, "films_of_recipe", lambda path, *, progress: f"films of {path.name}"
    )
    monkeypatch.setattr(public_cells, "add_cells", add)
    monkeypatch.setattr(public_cells, "constants_missing", lambda _: ["osteofed.cell_means"])
    old, out = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    old.write_bytes(b"x")
    facts = told("cells", str(old), "--out", str(out))
    assert facts == {"weights": str(out), "sha256": "c" * 64}
    assert asked == [(old, out, "films of old.safetensors")]


def test_a_file_that_lacks_no_cells_is_left_alone_and_no_film_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import server.encoders.public_cells as public_cells

    monkeypatch.setattr(public_cells, "films_of_recipe", lambda *_, **__: pytest.fail("drawn"))
    whole, out = CONFIG_WEIGHTS / "standin_vgg.safetensors", tmp_path / "new.safetensors"
    facts = told("cells", str(whole), "--out", str(out))
    assert facts == {"weights": str(whole), "sha256": hash_file(whole)}
    assert not out.exists()


def test_what_is_no_encoders_file_is_refused_before_a_bar_is_shown(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# An encoder\n\nSee elsewhere.\n")
    done = CliRunner().invoke(app, ["cells", str(tmp_path / "README.md"), "--out", "never"])
    assert done.exit_code == 1
    assert "README.md is not a safetensors file" in done.output
    assert "hint: name one that is" in done.output
    assert "public films" not in done.output


def test_clusters_of_public_films_become_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}
    one = PublicColumn(column="radiomics[0]", cluster=1, explained=0.9)

    def cluster(settings: Settings, **given: object) -> tuple[PublicColumn, ...]:
        asked.update(given, sources=len(settings.features.of_films))
        return (one,)

    monkeypatch.setattr(server.encoders.public_clusters, "cluster_films", cluster)
    out = tmp_path / "learner" / "mine.yaml"
    words = ("experiment=cssc", "features=radiomics")
    facts = told("clusters", *words, "--out", str(out), "--most", "7", "--then", "lda")
    assert (facts["columns"], facts["clusters"]) == (1, 1)
    assert (asked["max_clusters"], asked["n_films"], asked["sources"]) == (7, 300, 1)
    assert "kind: lda" in out.read_text()
