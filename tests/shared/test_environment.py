"""What is set before torch starts, unless an administrator set it otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

NAMES = {"OMP_WAIT_POLICY": "PASSIVE", "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "MKL_CBWR": "AUTO"}


def settings_of(program: str, **environment: str) -> list[str]:
    """The variables as a fresh process sees them."""
    own = {name: value for name, value in os.environ.items() if name not in NAMES}
    shown = f"; import os; print(*[os.environ[name] for name in {list(NAMES)}])"
    return subprocess.run(
        [sys.executable, "-c", program + shown],
        env=own | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()


@pytest.mark.parametrize("program", ["import shared", "import client.command.app"])
def test_results_repeat_by_what_is_set_on_the_first_import(program: str) -> None:
    assert settings_of(program) == list(NAMES.values())


def test_an_administrators_choice_stays() -> None:
    chosen = settings_of("import shared", CUBLAS_WORKSPACE_CONFIG=":16:8", MKL_CBWR="COMPATIBLE")
    assert chosen == ["PASSIVE", ":16:8", "COMPATIBLE"]
