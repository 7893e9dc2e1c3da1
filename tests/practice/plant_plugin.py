"""A plugin for pytest: the bug that ``PLANTED_BUG`` names is in the path of every test."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
_PLANTED = ExitStack()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Plant before any test is collected, so that what tests import is what is planted."""
    del session
    from planted import planted

    _PLANTED.enter_context(planted(os.environ["PLANTED_BUG"]))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Take it out again."""
    del session
    _PLANTED.close()
