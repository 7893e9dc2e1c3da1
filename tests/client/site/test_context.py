"""Which folder a client works in, whichever engine started it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from client.site.context import SIMULATED_SITES, site_folder_from
from shared.errors import EngineError


def context(**node_config: object) -> SimpleNamespace:
    return SimpleNamespace(node_config=node_config)


@pytest.fixture(autouse=True)
def _listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIMULATED_SITES, json.dumps(["/sites/a", "/sites/b"]))


def test_a_named_folder_comes_before_a_partition() -> None:
    found = site_folder_from(context(**{"site-folder": "/here", "partition-id": 1}))
    assert found == Path("/here")


def test_a_partition_is_a_place_in_the_list() -> None:
    found = [site_folder_from(context(**{"partition-id": number})) for number in (0, 1)]
    assert found == [Path("/sites/a"), Path("/sites/b")]


@pytest.mark.parametrize(
    "config",
    [{}, {"site-folder": ""}, {"site-folder": 7}, {"partition-id": 2}, {"partition-id": -1}],
)
def test_a_client_without_a_folder_does_not_guess(config: dict[str, object]) -> None:
    with pytest.raises(EngineError) as caught:
        site_folder_from(context(**config))
    assert caught.value.code == "engine.no-site-folder"


def test_a_partition_without_a_list_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SIMULATED_SITES)
    with pytest.raises(EngineError):
        site_folder_from(context(**{"partition-id": 0}))
