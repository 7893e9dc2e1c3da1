"""The real ClientApp over real cohorts on three engines, launched by the real commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from server.demo.loopback import prepare_federation, small_sites
from server.engines.loopback import deploy_loopback
from server.federation.folder import Home
from server.run.folder import open_run
from server.run.prepare import prepare

pytestmark = [pytest.mark.federation, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = [
    *("privacy=off", "fusion=linear", "federation.rounds=2"),
    # on a busy machine Ray's processes take minutes to start
    *("federation.poll_s=0.05", "federation.liveness_s=400"),
]
FOLDS = {
    "site": ["federation.fold=site", "federation.local_steps=2"],
    "coordinator": ["federation.fold=coordinator", "federation.local_steps=1"],
}


@dataclass(frozen=True)
class Ground:
    home: Path
    sites: dict[str, Path]

    def plan(self, run: str, *extra: str, fold: str) -> None:
        """Write a plan and let every site approve it, by command."""
        command("server", "plan", run, *SETTINGS, *FOLDS[fold], *extra, "--home", str(self.home))
        plan = self.home / "runs" / run / "plan.json"
        code = ("--code", str(json.loads(plan.read_bytes())["sha256"][:8]))
        for folder in self.sites.values():
            command(
                "client", "approve", str(plan), "--by", "Ada Lovelace", *code, "--folder", str(folder)
            )

    def launch(self, run: str) -> np.ndarray:
        """Train by command and return the tail average."""
        sites = [word for folder in self.sites.values() for word in ("--site", str(folder))]
        shown = command("server", "launch", run, *sites, "--home", str(self.home), "--json")
        assert json.loads(shown)["rounds"] == 2
        return open_run(self.home / "runs" / run).averaged()


def command(side: str, *arguments: str) -> str:
    """Run one of the two programs as a person would; its standard output."""
    done = subprocess.run(
        [sys.executable, "-c", f"from {side}.command.app import app; app()", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    folder = tmp_path_factory.mktemp("engines") / "federation"
    store, sites = prepare_federation(folder, SETTINGS, sites=small_sites())
    return Ground(store.home, sites)


@pytest.fixture(scope="module", params=list(FOLDS))
def fold(request: pytest.FixtureRequest) -> str:
    """Where sums become weights."""
    return str(request.param)


@pytest.fixture(scope="module")
def local_weights(ground: Ground, fold: str) -> np.ndarray:
    ground.plan(f"on-local-{fold}", "engine=local", fold=fold)
    return ground.launch(f"on-local-{fold}")


def test_training_moved_the_weights_and_a_second_run_gives_the_same(
    ground: Ground, fold: str, local_weights: np.ndarray
) -> None:
    assert np.abs(local_weights).max() > 1e-3
    ground.plan(f"on-local-again-{fold}", "engine=local", fold=fold)
    np.testing.assert_array_equal(ground.launch(f"on-local-again-{fold}"), local_weights)


@pytest.mark.ray
@pytest.mark.parametrize("fold", ["site"], indirect=True, scope="module")
def test_ray_gives_the_weights_of_the_local_engine(
    ground: Ground, fold: str, local_weights: np.ndarray
) -> None:
    ground.plan(f"on-ray-{fold}", "engine=ray", fold=fold)
    np.testing.assert_allclose(ground.launch(f"on-ray-{fold}"), local_weights, rtol=0, atol=1e-6)


@pytest.mark.deployed
def test_deployed_gives_the_weights_of_the_local_engine(
    ground: Ground, fold: str, local_weights: np.ndarray
) -> None:
    ground.plan(f"on-deployed-{fold}", "engine=deployed", "federation.reply_quantum_s=0", fold=fold)
    store = prepare(Home(ground.home), f"on-deployed-{fold}")
    deploy_loopback(ground.home, store.folder, ground.sites)
    np.testing.assert_allclose(store.averaged(), local_weights, rtol=0, atol=1e-6)


def test_a_site_that_did_not_approve_takes_no_part(ground: Ground) -> None:
    soon = "federation.liveness_s=10"
    command("server", "plan", "unasked", *SETTINGS, *FOLDS["site"], soon, "--home", str(ground.home))
    sites = [word for folder in ground.sites.values() for word in ("--site", str(folder))]
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from server.command.app import app; app()", "launch", "unasked"),
            *(*sites, "--home", str(ground.home), "--json"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["error"] == "engine.sites-not-ready"
    for site in ("aster", "birch", "cedar"):
        assert f"{site}: has not approved plan" in told["fact"]
    assert "dune" not in told["fact"], "an external hospital is not asked to train"
    assert not open_run(ground.home / "runs" / "unasked").events()
