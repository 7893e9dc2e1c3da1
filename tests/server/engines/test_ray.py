"""The engine of simulated nodes: what its workers are told, and for how long."""

from __future__ import annotations

import json
import logging
import os
import warnings
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp

from client.site.context import SIMULATED_SITES
from server.engines import ray
from server.engines.local import LocalGrid


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


def test_simulated_nodes_share_the_cores_that_were_given_one_each_and_no_accelerator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, dict[str, float]]] = []
    monkeypatch.setattr(
        "flwr.simulation.run_simulation",
        lambda *_, backend_config, **__: told.append(backend_config),
    )
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    for n_cpus in (3, None):
        ray.run_ray(tmp_path / "run", {"aster": tmp_path / "aster"}, n_cpus=n_cpus)
    assert [each["init_args"]["num_cpus"] for each in told] == [3, 5]
    assert told[0]["client_resources"] == {"num_cpus": 1, "num_gpus": 0.0}


def test_the_server_app_of_a_simulation_is_told_the_run_and_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Context] = []
    monkeypatch.setattr("server.app.app", lambda _, context: told.append(context))
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    ray._stage_app(tmp_path / "run", "internal")(LocalGrid(ClientApp(), {}), context)
    assert told[0].run_config == {"run-folder": str((tmp_path / "run").resolve()), "stage": "internal"}


def test_notices_for_developers_are_kept_from_a_user_and_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def simulate(*_: object, **__: object) -> None:
        logger = logging.getLogger("flwr")
        logger.warning("DEPRECATED FEATURE: use another function")
        logger.warning("a worker has died")
        warnings.warn("in future versions of Ray", FutureWarning, stacklevel=1)

    monkeypatch.setattr("flwr.simulation.run_simulation", simulate)
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    ray.run_ray(tmp_path / "run", {"aster": tmp_path / "aster"})
    assert [record.getMessage() for record in caplog.records] == ["a worker has died"]
    assert logging.getLogger("flwr").filters == []
