"""Nobody else may provide packages named server, client or shared."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_no_installed_distribution_but_ours_provides_our_names() -> None:
    found = packages_distributions()
    for name in ("server", "client", "shared"):
        assert set(found.get(name, ())) <= {"osteofed"}


@pytest.mark.parametrize("name", ["server", "client"])
def test_a_foreign_package_of_our_name_is_refused(tmp_path: Path, name: str) -> None:
    foreign = tmp_path / name
    foreign.mkdir()
    (foreign / "__init__.py").write_text("")
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    command = [sys.executable, "-P", "-c", "import shared.errors"]
    environment = os.environ | {"PYTHONPATH": path}
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode != 0
    assert f"package {name} must come from {ROOT}" in ended.stderr


def test_our_own_packages_are_accepted() -> None:
    command = [sys.executable, "-c", "import shared.errors, server.run.folder, client.site.context"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=environment, cwd=ROOT, check=True)
