"""Starting a stage: the plan's engine, the plan's encoder, and nothing without the sites."""

from __future__ import annotations

from pathlib import Path

import practice_federation as practice
import pytest

import server.demo.deployment
import server.engines.local
import server.engines.ray
from server.engines.launch import CONFIG_WEIGHTS, encoder_file, launch_stage
from server.federation.compose import compose_settings
from server.run.folder import RunStore
from shared.contract.plan import Plan
from shared.contract.settings import EncoderSettings
from shared.errors import EngineError, RunError
from shared.signing.canonical import hash_file


def with_engine(home: Path, name: str) -> tuple[RunStore, dict[str, Path]]:
    store, folders = practice.found_federation(home, n_sites=2)
    content = store.plan.model_dump()
    content["settings"]["engine"]["name"] = name
    return RunStore(store.folder, Plan.model_validate(content)), folders


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[object, ...], object]]:
    calls: list[tuple[str, tuple[object, ...], object]] = []

    def note(name: str):
        return lambda *arguments, stage=None: calls.append((name, arguments, stage))

    monkeypatch.setattr(server.engines.local, "run_local", note("local"))
    monkeypatch.setattr(server.engines.ray, "run_ray", note("ray"))
    monkeypatch.setattr(server.demo.deployment, "submit_stage", note("deployed"))
    return calls


@pytest.mark.parametrize("name", ["local", "ray"])
def test_an_engine_of_this_machine_gets_the_run_and_its_sites(
    tmp_path: Path, started: list[tuple[str, tuple[object, ...], object]], name: str
) -> None:
    store, folders = with_engine(tmp_path, name)
    launch_stage(store, "internal", site_folders=folders)
    assert started == [(name, (store.folder, folders), "internal")]
    with pytest.raises(EngineError) as caught:
        launch_stage(store, "internal", site_folders={})
    assert caught.value.code == "engine.no-sites"


def test_a_deployed_run_needs_no_sites_here(
    tmp_path: Path, started: list[tuple[str, tuple[object, ...], object]]
) -> None:
    store, _ = with_engine(tmp_path, "deployed")
    launch_stage(store, "train", site_folders={})
    assert started == [("deployed", (store, "train"), None)]


def encoder(**values: object) -> EncoderSettings:
    shipped = compose_settings().encoder
    return shipped.model_copy(update=values)


def test_the_shipped_encoder_is_found_beside_the_configuration() -> None:
    found = encoder_file(encoder())
    assert found == CONFIG_WEIGHTS / str(encoder().weights)
    assert hash_file(found) == encoder().sha256


def test_no_encoder_and_one_that_starts_from_the_seed_have_no_file() -> None:
    assert encoder_file(encoder(name="none")) is None
    assert encoder_file(encoder(name="resnet_gn", weights=None)) is None


def test_a_file_that_is_missing_or_another_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"other")
    for weights in (str(other), str(tmp_path / "none")):
        with pytest.raises(RunError) as caught:
            encoder_file(encoder(weights=weights))
        assert caught.value.code == "run.wrong-encoder"
    assert encoder_file(encoder(weights=str(other), sha256=hash_file(other))) == other
