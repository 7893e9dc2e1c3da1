"""What a stage on the SuperLink has come to, as the command hears of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import practice_federation as practice
import pytest

from server.engines import superlink
from server.engines.superlink import Deployment, submit_stage
from shared.errors import EngineError, OsteoFedError, PolicyError, WeightsError

Play = Callable[[dict[str, str]], None]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Plays a stage that ends with an outcome as soon as it is submitted."""
    store, _ = practice.found_federation(tmp_path)

    def play(outcome: dict[str, str]) -> None:
        def end(*_: object) -> dict[str, object]:
            file = store.folder / "outcome-train.json"
            assert not file.exists(), "an earlier try's outcome would be taken for this one's"
            file.write_text(json.dumps(outcome))
            return {"run-id": 1}

        monkeypatch.setattr(Deployment, "_flwr", end)
        Deployment(store.home).play(store, "train", timeout_s=20.0)

    return play


def test_a_finished_stage_returns(play: Play) -> None:
    play({"status": "finished", "code": "", "fact": "", "hint": ""})


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("weights.missing", WeightsError),
        ("policy.plan-forbidden", PolicyError),
        ("osteofed.internal", OsteoFedError),
    ],
)
def test_what_stopped_a_stage_keeps_its_code(play: Play, code: str, kind: type[OsteoFedError]) -> None:
    with pytest.raises(kind) as caught:
        play({"status": "stopped", "code": code, "fact": "it is gone", "hint": "look"})
    assert (caught.value.code, caught.value.fact, caught.value.hint) == (code, "it is gone", "look")


def test_a_stage_that_was_stopped_can_be_played_again_to_its_end(play: Play) -> None:
    stopped = {"status": "stopped", "code": "run.paused", "fact": "it was paused", "hint": ""}
    with pytest.raises(OsteoFedError, match="it was paused"):
        play(stopped)
    play(stopped | {"status": "finished"})


@pytest.fixture
def submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Plays a stage that leaves no outcome while Flower lists its run under a status."""
    store, _ = practice.found_federation(tmp_path)
    monkeypatch.setattr(superlink, "LIST_EVERY_S", 0.0)
    monkeypatch.setattr(superlink, "STATUS_EVERY_S", 0.01)

    def play(status: str) -> None:
        asked: list[str] = []

        def answer(_: Deployment, command: str, *__: str) -> dict[str, object]:
            asked.append(command)
            assert len(asked) < 500, "nobody looks at the clock"
            return {"run-id": 1, "runs": [{"status": status}]}

        monkeypatch.setattr(Deployment, "_flwr", answer)
        Deployment(store.home).play(store, "train", timeout_s=0.5)

    return play


@pytest.mark.parametrize("status", ["finished:failed", "finished:stopped", "finished"])
def test_a_run_that_flower_ended_without_an_outcome_is_not_waited_for(
    submitted: Callable[[str], None], status: str
) -> None:
    with pytest.raises(EngineError, match=f"as {status} without an outcome"):
        submitted(status)


def test_a_stage_that_goes_on_for_too_long_is_given_up(submitted: Callable[[str], None]) -> None:
    with pytest.raises(EngineError) as caught:
        submitted("running")
    assert caught.value.code == "engine.stage-timeout"


def test_a_node_key_is_registered_once_and_a_new_one_of_the_site_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(Deployment, "_flwr", lambda _, *arguments: asked.append(arguments) or {})
    deployment, file = Deployment(tmp_path), tmp_path / "aster.pub"
    for key in ("first", "first", "second", "second"):
        file.write_text(key)
        deployment.register("aster", file)
    deployment.register("birch", file)
    assert [arguments[:2] for arguments in asked] == [("supernode", "register")] * 3
    assert [arguments[-1] for arguments in asked] == ["aster", "aster", "birch"]


def test_a_stage_needs_a_superlink(tmp_path: Path) -> None:
    store, _ = practice.found_federation(tmp_path)
    with pytest.raises(EngineError) as caught:
        submit_stage(store, "train")
    assert caught.value.code == "engine.no-superlink"
