"""The house rules that a machine can hold: import directions, doors of libraries, charters."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path for package in ("server", "client", "shared") for path in (ROOT / package).rglob("*.py")
)


def test_import_directions_and_library_doors_hold() -> None:
    linted = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert linted.returncode == 0, linted.stdout


def test_no_installed_distribution_provides_a_module_with_our_names() -> None:
    providers = importlib.metadata.packages_distributions()
    for name in ("server", "client", "shared"):
        assert set(providers.get(name, [])) <= {"osteofed"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_source_has_a_charter_and_no_assert_print_or_todo(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    if path.name != "__init__.py":
        assert ast.get_docstring(tree), "a module opens with its charter"
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: raise instead of assert"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}: print is a leak path"
    assert not re.search(r"\b(TODO|FIXME|NotImplementedError)\b", text)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_public_functions_and_classes_are_documented(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        is_public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
        if is_public:
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_protective_noise_never_comes_from_a_seed() -> None:
    noise = (ROOT / "shared" / "privacy" / "noise.py").read_text()
    assert "urandom" in noise
    assert not re.search(r"manual_seed|default_rng|RandomState|random\.seed", noise)


def test_every_top_level_folder_states_its_law() -> None:
    for folder in ("server", "client", "shared", "configs", "tests"):
        lines = (ROOT / folder / "README.md").read_text().splitlines()
        assert 2 <= len(lines) <= 40, folder
