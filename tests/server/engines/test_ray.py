"""The engine of simulated nodes: what its workers are told, and for how long."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from client.site.context import SIMULATED_SITES
from server.engines import ray


@pytest.mark.parametrize("breaks_off", [False, True])
def test_the_sites_are_named_while_their_simulation_runs_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, breaks_off: bool
) -> None:
    folders = {name: tmp_path / name for name in ("aster", "birch")}
    told: list[object] = []

    def simulate(*_: object, num_supernodes: int, **__: object) -> None:
        told.extend([num_supernodes, json.loads(os.environ[SIMULATED_SITES])])
        if breaks_off:
            raise KeyboardInterrupt

    monkeypatch.setattr("flwr.simulation.run_simulation", simulate)
    if breaks_off:
        with pytest.raises(KeyboardInterrupt):
            ray.run_ray(tmp_path / "run", folders)
    else:
        ray.run_ray(tmp_path / "run", folders)
    assert told == [2, [str(folder.resolve()) for folder in folders.values()]]
    assert SIMULATED_SITES not in os.environ
