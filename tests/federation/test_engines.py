"""Deployed clients are the installed ones, with the weights of the local engine; all of them end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import practice_federation as practice
import pytest

from server.run.folder import RunStore, open_run
from shared.machine.processes import flower_environment, flower_program
from shared.signing.code_hash import code_hash

ROOT = Path(__file__).resolve().parents[2]
PRACTICE = ROOT / "tests" / "practice"
ROUNDS = 3


def run_in_process(engine: str, home: Path) -> RunStore:
    settings = practice.practice_settings(
        rounds=ROUNDS, federation={"round_deadline_s": 120, "liveness_s": 90, "poll_s": 0.05}
    )
    store, folders = practice.found_federation(home, n_sites=3, settings=settings)
    listed = home / "folders.json"
    listed.write_text(json.dumps({name: str(folder) for name, folder in folders.items()}))
    command = [sys.executable, practice.__file__, engine, str(store.folder), str(listed)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, env=environment, timeout=300)
    return store


@pytest.fixture(scope="module")
def local_weights(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return run_in_process("local", tmp_path_factory.mktemp("local")).averaged()


def copy_of_project(folder: Path) -> Path:
    """The project with the practice ClientApp in place of the real one."""
    for package in ("server", "client", "shared"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("*.pyc"))
    for file in ("pyproject.toml", "LICENSE"):
        shutil.copyfile(ROOT / file, folder / file)
    shutil.copyfile(practice.__file__, folder / "client" / "app.py")
    return folder


@pytest.mark.federation
@pytest.mark.deployed
@pytest.mark.slow
def test_a_deployed_federation_runs_installed_clients_to_the_weights_of_the_local_engine_and_ends(
    tmp_path: Path, local_weights: np.ndarray
) -> None:
    project, home = copy_of_project(tmp_path / "project"), tmp_path / "home"
    shipped, betrayal = copy_of_project(tmp_path / "shipped"), tmp_path / "betrayal"
    foreign = f"import pathlib\napp = pathlib.Path({str(betrayal)!r}).write_text('ran')\n"
    (shipped / "client" / "app.py").write_text(foreign)
    command = [sys.executable, str(PRACTICE / "run_deployed.py"), str(home), str(ROUNDS), str(shipped)]
    environment = os.environ | {"PYTHONPATH": f"{project}{os.pathsep}{PRACTICE}"}
    subprocess.run(command, check=True, cwd=project, env=environment, timeout=500)
    store = open_run(home / "runs" / "practice")
    np.testing.assert_allclose(store.averaged(), local_weights, rtol=0, atol=1e-6)
    assert not betrayal.exists(), "code that came by network ran at a site"
    assert processes_mentioning(tmp_path) == []


def processes_mentioning(folder: Path) -> list[str]:
    """Command lines of live processes that name a folder."""
    lines = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # not a process, or it has just ended
        if str(folder) in line:
            lines.append(line)
    return lines


@pytest.mark.federation
def test_the_bundle_is_small_holds_our_code_only_and_is_the_same_each_time(tmp_path: Path) -> None:
    digests = set()
    for number in (1, 2):
        project = copy_of_project(tmp_path / f"copy-{number}")
        (project / "tests").mkdir()
        (project / "tests" / "conftest.py").write_text("")
        subprocess.run(
            [flower_program("flwr"), "build"],
            check=True,
            cwd=project,
            env=flower_environment(tmp_path / "flower"),
            capture_output=True,
            timeout=120,
        )
        [bundle] = project.glob("*.fab")
        digests.add(bundle.read_bytes())
        assert bundle.stat().st_size < 4_000_000  # Flower takes 10 MB
        with zipfile.ZipFile(bundle) as content:
            names = {name for name in content.namelist() if not name.startswith(".info/")}
            content.extractall(tmp_path / f"unpacked-{number}")
        tops = {name.partition("/")[0] for name in names}
        assert tops <= {"server", "client", "shared", "pyproject.toml", "LICENSE"}
        for template in project.rglob(
            "*.j2"
        ):  # Flower ships none; pages are made where code is installed
            template.unlink()
        assert code_hash(tmp_path / f"unpacked-{number}") == code_hash(project)
    assert len(digests) == 1
