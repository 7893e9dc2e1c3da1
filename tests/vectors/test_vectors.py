"""The test vectors are what the code writes; a verifier that shares nothing with it accepts them."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import verify
from cryptography.exceptions import InvalidSignature

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
        "import verify; verify.main(sys.argv[1:])"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", blocked, *map(str, FILES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines() == [f"{name}: holds" for name in NAMES]


def test_the_verifier_is_one_file_that_names_no_package_but_cryptography() -> None:
    named = set()
    for node in ast.walk(ast.parse((FOLDER / "verify.py").read_text())):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            named.add(str(node.module).partition(".")[0])
    assert named - set(sys.stdlib_module_names) == {"cryptography"}


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


Place = Sequence[str | int]


def put(value: Any, place: Place, new: object) -> Any:
    """The value with another at a place: in JSON and its texts names and numbers, in files lines."""
    if not place:
        return new
    name, rest = place[0], place[1:]
    if isinstance(value, str) and isinstance(name, int):
        value = value.split("\n")
        return "\n".join(put(value, place, new))
    if isinstance(value, str):
        ending = value[len(value.rstrip("\n")) :]
        return verify.write(put(json.loads(value), place, new)) + ending
    if isinstance(name, int):
        return [put(each, rest, new) if at == name else each for at, each in enumerate(value)]
    return value | {name: put(value.get(name), rest, new)}


KINDS = f"ledger: every kind of row, version {LEDGER_VERSION}"
OPENED, CHARGE, ATTEMPT, OUTCOME, ACCEPTED, ROTATED, MOVED = range(7)  # lines of that ledger
HEX = "0123456789abcdef" * 4


# Each check of the verifier, and what it alone refuses.
WRONG: dict[str, tuple[str, Place, object]] = {
    "a number must be finite": ("canonical: numbers", ["file"], "[1e999]"),
    "an integer beyond 2^53": ("canonical: numbers", ["file"], "[9007199254740992]"),
    "a name stands twice": ("canonical: text", ["file"], '{"a": 1, "a": 1}'),
    "not canonical JSON": ("request: run", ["file"], '{"message" : "SumRequest"}'),
    "exactly these names": ("plan: run", ["file", "more"], 1),
    "a line must end in a newline": ("outbox: run", ["file"], "{}"),
    "base64 has one form": ("request: run", ["file", "vector", "data"], "AAAAAB=="),
    "an array": ("request: run", ["file", "vector", "data"], "AAA="),
    "fields of the version": (KINDS, ["file", CHARGE, "row", "more"], 1),
    "the row before": (KINDS, ["file", CHARGE, "row", "previous_sha256"], HEX),
    "whose ledger it is": (KINDS, ["file", OPENED, "row", "site"], "fir"),
    "whose row is due": (KINDS, ["file", MOVED, "row", "public_key"], HEX),
    "random bytes": (KINDS, ["file", OPENED, "row", "nonce"], "0" * 31),
    "a lock is accepted": (KINDS, ["file", ACCEPTED, "row", "lock_sha256"], ""),
    "a key is handed over": (KINDS, ["file", ROTATED, "row", "next_public_key"], ""),
    "about a charge": (KINDS, ["file", OUTCOME, "row", "charge_index"], ATTEMPT),
    "of the same request": (KINDS, ["file", OUTCOME, "row", "request_sha256"], HEX),
    "a head that was seen": ("ledger: run", ["countersigned", 0, "head_sha256"], HEX),
    "who has seen it": ("ledger: run", ["countersigned", 0, "coordinator_key"], HEX),
    "where the ledger stood": (KINDS, ["witness", "witness", "rows_sha256"], HEX),
    "whose witness": (KINDS, ["witness", "public_key"], HEX),
    "trusted key": (KINDS, ["trusted", 0], HEX),
    "which message": ("request: run", ["file", "message"], "SumReply"),
    "version": ("reply: run", ["file", "version"], 1),
    "which message is signed": ("reply: a refusal, which is not signed", ["file", "signature"], ""),
    "what left": ("outbox: run", ["file", 0, "message"], "Refusal"),
    "of which plan": ("outbox: run", ["file", 0, "plan_sha256"], HEX),
    "how many bytes": ("outbox: run", ["file", 0, "n_bytes"], 1),
    "a newline ends it": ("statement: run", ["file"], "{}"),
    "what is hashed, to what": ("plan: run", ["hashed", 0, 1], HEX),
    "what is signed, by whom, and how": ("plan: run", ["signed", 0, 2], 2 * HEX),
    "who signs": ("plan: run", ["trusted", 0], HEX),
}


@pytest.mark.parametrize("words", WRONG)
def test_each_check_of_the_verifier_refuses_what_it_is_for(words: str) -> None:
    name, place, new = WRONG[words]
    wrong = put(VECTORS[NAMES.index(name)], place, new)
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        verify.verify(wrong)


def with_both(vector: dict[str, Any], *changes: tuple[Place, object]) -> dict[str, Any]:
    """A vector whose file and evidence are changed alike, so that only what is evident can tell."""
    for place, new in changes:
        vector = put(vector, place, new)
    return vector


def test_evidence_that_agrees_with_its_file_must_be_true_in_itself() -> None:
    plan = VECTORS[NAMES.index("plan: run")]
    _, text, signature = plan["signed"][0]
    key = plan["trusted"][0].upper()
    for words, changes in {
        "a hash is not of this text": [(["file", "sha256"], HEX), (["hashed", 0, 1], HEX)],
        "a signature is 128 digits": [
            (["file", "signature"], signature.upper()),
            (["signed", 0, 2], signature.upper()),
        ],
        "a key is 64 digits": [
            (["file", "plan", "coordinator_key"], key),
            (["trusted", 0], key),
            (["hashed", 0, 0], (spelled := put(text, ["coordinator_key"], key))),
            (["hashed", 0, 1], verify.sha256(spelled)),
            (["file", "sha256"], verify.sha256(spelled)),
            (["signed", 0], [key, spelled, signature]),
        ],
    }.items():
        with pytest.raises(ValueError, match=words):
            verify.verify(with_both(plan, *changes))
    forged = with_both(plan, (["file", "signature"], 2 * HEX), (["signed", 0, 2], 2 * HEX))
    with pytest.raises(InvalidSignature):
        verify.verify(forged)
    twice = VECTORS[NAMES.index("statement: run")]
    [only] = json.loads(twice["file"])["signatures"]
    with pytest.raises(ValueError, match="nobody signs twice"):
        verify.verify(put(twice, ["file", "signatures"], [only, only]))


def checks_of_the_verifier() -> set[str]:
    """The words of every check but those of ``check_run``, whose words are the places it compares."""
    parts = ast.parse((FOLDER / "verify.py").read_text()).body
    return {
        node.args[1].value
        for part in parts
        if not (isinstance(part, ast.FunctionDef) and part.name == "check_run")
        for node in ast.walk(part)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "need"
        and isinstance(node.args[1], ast.Constant)
    }


def test_no_check_of_the_verifier_goes_untried() -> None:
    tried = {"a hash is not of this text", "a signature is 128 digits", "a key is 64 digits"}
    assert checks_of_the_verifier() == WRONG.keys() | tried | {"nobody signs twice"}


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


PLACES = [(row, place) for row in verify.SAME.strip().splitlines() for place in row.split()]


@pytest.mark.parametrize(("row", "place"), PLACES)
def test_documents_of_a_run_that_differ_in_one_place_are_told(row: str, place: str) -> None:
    held = run_of()
    document, _, rest = place.partition(".")
    where: dict[str, Place] = {
        "charge": ["ledger", len(held["ledger"]) - 2],
        "outcome": ["ledger", len(held["ledger"]) - 1],
        "left": ["outbox", len(held["outbox"]) - 1],
        "subject": ["statement", "subject", 0],
        "stated": ["statement", "predicate"],
    }
    names = [int(name) if name.isdigit() else name for name in rest.split(".")]
    other = put(held, [*where.get(document, [document]), *names], "another")
    with pytest.raises(ValueError, match=f"^{re.escape(row)}$"):
        verify.check_run(**other)


@pytest.mark.parametrize(
    ("place", "new", "words"),
    [
        (["ledger", -2, "kind"], "attempt", "charged, then released"),
        (["ledger", -1, "status"], "kept", "charged, then released"),
        (["reply", "charges"], 2, "how often it was charged"),
    ],
)
def test_a_run_is_charged_then_released_and_says_how_often(
    place: Place, new: object, words: str
) -> None:
    held = run_of()
    if place[0] == "ledger":
        place = ["ledger", len(held["ledger"]) + int(place[1]), place[2]]
    with pytest.raises(ValueError, match=words):
        verify.check_run(**put(held, place, new))


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
