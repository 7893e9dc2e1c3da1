"""The identity of the code: every source file by name and content, nothing else."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from shared.machine.files import PROJECT
from shared.signing.canonical import hash_of, sha256_hex
from shared.signing.code_hash import code_hash, environment_sha256, installed_code_hash


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in (("client/a.py", "1"), ("server/deep/b.py", "2"), ("shared/c.py", "3")):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return tmp_path


def test_it_is_the_hash_of_sorted_names_and_contents(tree: Path) -> None:
    names = {"client/a.py": b"1", "server/deep/b.py": b"2", "shared/c.py": b"3"}
    assert code_hash(tree) == hash_of([[name, sha256_hex(data)] for name, data in names.items()])


def test_any_change_of_a_source_file_changes_it(tree: Path) -> None:
    seen = {code_hash(tree)}
    (tree / "shared" / "c.py").write_text("4")
    seen.add(code_hash(tree))
    (tree / "server" / "deep" / "b.py").rename(tree / "server" / "b.py")
    seen.add(code_hash(tree))
    (tree / "client" / "new.py").write_text("")
    seen.add(code_hash(tree))
    assert len(seen) == 4


def test_a_template_is_source_since_people_read_what_it_writes(tree: Path) -> None:
    seen = [code_hash(tree)]
    for name in ("page.html.j2", "page.html", "deep/page.css"):
        path = tree / "server" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
        seen.append(code_hash(tree))
    assert len(set(seen)) == 4


def test_the_environment_is_named_by_what_is_installed_in_which_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def named(*found: tuple[str, str]) -> str:
        installed = [SimpleNamespace(name=name, version=version) for name, version in found]
        monkeypatch.setattr(importlib.metadata, "distributions", lambda: installed)
        return environment_sha256.__wrapped__()

    here = named(("b", "1"), ("A_a", "2"))
    assert here == hash_of([["a-a", "2"], ["b", "1"]]) == named(("a.a", "2"), ("b", "1"), ("b", "1"))
    assert len({here, named(("b", "1")), named(("b", "2"), ("a-a", "2"))}) == 3


def test_what_is_no_source_changes_nothing(tree: Path) -> None:
    before = code_hash(tree)
    (tree / "client" / "settings.yaml").write_text("x")
    (tree / "client" / "a.pyc").write_text("x")
    (tree / "tests").mkdir()
    (tree / "tests" / "test_a.py").write_text("x")
    assert code_hash(tree) == before


def test_the_installed_code_is_this_projects() -> None:
    assert installed_code_hash() == code_hash(PROJECT)
