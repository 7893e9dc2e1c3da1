"""The test vectors are what the code writes; a verifier that shares nothing with it accepts them."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import verify

from shared.privacy.ledger_format import LEDGER_VERSION
from tests.vectors.make import FOLDER, vectors

FILES = sorted(FOLDER.glob("*.json"))
VECTORS = [vector for path in FILES for vector in json.loads(path.read_bytes())]
NAMES = [f"{vector['format']}: {vector['name']}" for vector in VECTORS]
OURS = ("server", "client", "shared", "tests", "rfc8785", "numpy", "flwr")
MOST_MUTANTS = 300


def test_the_vectors_are_what_the_code_writes() -> None:
    committed = {path.name: path.read_text() for path in FILES}
    written = vectors()
    changed = [name for name in written | committed if committed.get(name) != written.get(name)]
    assert changed == [], "a format changed; if it was meant to, run make vectors"


def test_a_verifier_that_can_import_nothing_of_ours_accepts_every_vector() -> None:
    blocked = (
        f"import sys; sys.modules.update(dict.fromkeys({OURS})); sys.path.insert(0, {str(FOLDER)!r}); "
        "import verify; sys.exit(verify.main(sys.argv[1:]))"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", blocked, *map(str, FILES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines() == [f"{name}: holds" for name in NAMES]


def test_the_verifier_names_no_package_but_cryptography() -> None:
    named = set()
    for name in ("verify.py", "primitives.py"):
        for node in ast.walk(ast.parse((FOLDER / name).read_text())):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                named.add(str(node.module).partition(".")[0])
    assert named - set(sys.stdlib_module_names) == {"cryptography", "primitives"}


def mutants(vector: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A vector with one byte changed, at places spread evenly over all of it but its name."""
    evidence = {name: value for name, value in vector.items() if name != "name"}
    text = json.dumps(evidence, ensure_ascii=False).encode()
    for place in range(0, len(text), max(1, len(text) // MOST_MUTANTS)):
        for flip in (0x01, 0x20):
            changed = text[:place] + bytes([text[place] ^ flip]) + text[place + 1 :]
            try:
                mutant = json.loads(changed)
            except ValueError:
                continue
            if mutant != evidence:
                yield mutant


@pytest.mark.parametrize("vector", VECTORS, ids=NAMES)
def test_a_vector_with_one_byte_changed_is_refused(vector: dict[str, Any]) -> None:
    verify.verify(vector)
    n_refused, survivors = 0, []
    for mutant in mutants(vector):
        try:
            verify.verify(mutant)
            survivors.append(mutant)
        except verify.FAILURES:
            n_refused += 1
    assert n_refused > 100
    # 1e-05 is 1E-05 where a file has more than one form: its value did not change
    assert all(says_the_same(vector, mutant) for mutant in survivors)


def says_the_same(vector: dict[str, Any], mutant: dict[str, Any]) -> bool:
    if vector["format"] not in ("plan", "canonical"):
        return False
    is_spelling = json.loads(vector["file"]) == json.loads(mutant["file"])
    return is_spelling and all(mutant[name] == vector[name] for name in mutant if name != "file")


def run_of(**changes: Any) -> dict[str, Any]:
    held = {
        vector["format"]: verify.verify(vector)
        for vector in VECTORS
        if vector["name"] == "run" and vector["format"] != "canonical"
    }
    return held | changes


@pytest.mark.parametrize("exchanged", ["ledger", "request", "reply"])
def test_documents_of_different_runs_are_told_though_each_is_genuine(exchanged: str) -> None:
    verify.check_run(**run_of())
    others = [each for each in VECTORS if each["format"] == exchanged and each["name"] != "run"]
    assert others
    for other in others:
        with pytest.raises(verify.FAILURES):
            verify.check_run(**run_of(**{exchanged: verify.verify(other)}))


def test_ledger_vectors_hold_a_row_of_every_version_and_kind() -> None:
    rows = [
        (row["version"], row["kind"])
        for vector in VECTORS
        if vector["format"] == "ledger"
        for row in verify.verify(vector)
    ]
    assert {version for version, _ in rows} == set(range(1, LEDGER_VERSION + 1))
    kinds = {"opened", "charge", "attempt", "outcome", "rotated", "moved", "accepted"}
    assert {kind for version, kind in rows if version == LEDGER_VERSION} == kinds
