"""The law that tests mirror the source: each source file has a test file of its name, or a reason.

``client/gate/outbox.py`` is tested by ``tests/client/gate/test_outbox.py``. Where one test holds more
files to account than one, ``mirror.ELSEWHERE`` names it and says why; the named test must import the
file, itself, through ``tests/practice``, or through the source file that the entry names. A file that
only declares (protocols, records without a method) decides nothing and needs no test.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from mirror import (
    ELSEWHERE,
    ROOT,
    SOURCES,
    TESTS,
    imports_of,
    lacking,
    mirrored,
    module_of,
    only_declares,
    reach_of,
)


def test_every_source_file_has_a_test_of_its_name_or_a_reason() -> None:
    assert lacking(SOURCES) == []


def test_a_file_without_a_test_would_be_noticed() -> None:
    # the law itself decides something, and nothing in the source is mirrored by it
    assert lacking([Path("tests/house/test_mirror.py")]) == ["tests/house/test_mirror.py"]


def test_a_file_that_only_declares_is_told_from_one_that_decides() -> None:
    declares = 'class A(Protocol):\n    def f(self) -> int:\n        """Text."""\n        ...\n'
    assert only_declares(declares + "@dataclass\nclass B:\n    x: int = 0\n")
    assert not only_declares("def f() -> int:\n    return 1\n")
    assert not only_declares("class A:\n    def f(self) -> int:\n        raise ValueError\n")


@pytest.mark.parametrize(
    "source", [path for path in SOURCES if mirrored(path).exists()], ids=lambda path: path.as_posix()
)
def test_a_test_of_a_files_name_can_run_it(source: Path) -> None:
    known = {module_of(path): ROOT / path for path in SOURCES}
    todo = {known[name] for name in reach_of(mirrored(source)) if name in known}
    seen: set[Path] = set()
    while todo:
        path = todo.pop()
        seen.add(path)
        todo |= {known[name] for name in imports_of(path) if name in known} - seen
    assert ROOT / source in seen


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_an_exception_names_a_test_that_reaches_the_file(name: str) -> None:
    entry, source = ELSEWHERE[name], ROOT / name
    assert source.exists(), "an exception of a file that is gone"
    assert not mirrored(Path(name)).exists(), "it has a test of its name: drop the exception"
    assert len(entry.why) > 15
    reached = module_of(name)
    if entry.through:
        assert reached in imports_of(ROOT / entry.through)
        reached = module_of(entry.through)
    assert reached in reach_of(TESTS / entry.test)


def test_exceptions_stay_exceptions() -> None:
    assert len(ELSEWHERE) < len(SOURCES) / 4
