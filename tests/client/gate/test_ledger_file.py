"""A ledger on disk: what is read is checked, what is torn is cut, and its witness must lie on it."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from client.gate import ledger_file
from client.gate.ledger_file import LedgerFile, has_rows
from shared.errors import LedgerError
from shared.privacy.ledger_format import GENESIS, Countersignature, LedgerRow, decode_row
from shared.signing.canonical import canonical_json
from shared.signing.countersign import countersign
from shared.signing.keys import SigningKey, create_key, load_key

PLAN = "a" * 64


def key_of(folder: Path, name: str = "site") -> SigningKey:
    path = folder / f"{name}.pem"
    return load_key(path) if path.exists() else create_key(path)


def open_file(folder: Path, *, site: str = "north", admitted: list[int] | None = None) -> LedgerFile:
    seen = [] if admitted is None else admitted
    return LedgerFile(
        folder / "ledger", site=site, key=key_of(folder), admit=lambda row: seen.append(row.index)
    )


def next_row(file: LedgerFile, **values: object) -> LedgerRow:
    last = file.rows[-1] if file.rows else None
    plain: dict[str, object] = {
        "index": last.index + 1 if last else 0,
        "previous_sha256": last.sha256 if last else GENESIS,
        "utc": "2026-01-01T00:00:00+00:00",
        "site": "north",
        "public_key": file.key.public_hex,
        "kind": "charge" if last else "opened",
        "nonce": secrets.token_hex(16),
    }
    return LedgerRow(**plain | values)  # type: ignore[arg-type]


def written(folder: Path, n: int = 3) -> LedgerFile:
    file = open_file(folder)
    with file.held():
        for _ in range(n):
            file.append(next_row(file))
    return file


def code_of(folder: Path, **options: object) -> str:
    def hold() -> None:
        with open_file(folder, **options).held():
            pass

    with pytest.raises(LedgerError) as caught:
        hold()
    return caught.value.code


def test_rows_are_read_once_each_and_in_order_by_every_opener(tmp_path: Path) -> None:
    first = written(tmp_path, 2)
    admitted: list[int] = []
    second = open_file(tmp_path, admitted=admitted)
    with second.held():
        assert admitted == [0, 1]
    with first.held():
        first.append(next_row(first))
    with second.held():
        assert admitted == [0, 1, 2]
        assert second.verify() == second.rows[-1].head
    assert len(second.lines()) == 3


def test_a_torn_line_is_cut_from_the_file_and_the_next_row_follows_the_whole_ones(
    tmp_path: Path,
) -> None:
    written(tmp_path, 2)
    rows = tmp_path / "ledger" / "ledger.jsonl"
    whole = rows.read_bytes()
    rows.write_bytes(whole + whole[:50])
    file = open_file(tmp_path)
    with file.held():
        assert rows.read_bytes() == whole
        file.append(next_row(file))
    with open_file(tmp_path).held():
        pass


def cut(folder: Path) -> None:
    rows = folder / "ledger" / "ledger.jsonl"
    rows.write_bytes(b"".join(rows.read_bytes().splitlines(keepends=True)[:-1]))


def forget_witness(folder: Path) -> None:
    (folder / "ledger-witness.json").unlink()


def rewrite_witness(folder: Path, **values: object) -> None:
    path = folder / "ledger-witness.json"
    signed = json.loads(path.read_bytes())
    signed["witness"] |= values
    path.write_text(json.dumps(signed))


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (cut, "ledger.behind"),
        (forget_witness, "ledger.damaged"),
        (lambda folder: rewrite_witness(folder, head_sha256=GENESIS), "ledger.damaged"),
        (lambda folder: rewrite_witness(folder, site="south"), "ledger.damaged"),
        (lambda folder: (folder / "ledger-witness.json").write_text("{}"), "ledger.damaged"),
    ],
)
def test_rows_and_witness_must_agree(tmp_path: Path, harm: Callable[[Path], object], code: str) -> None:
    written(tmp_path)
    harm(tmp_path)
    assert code_of(tmp_path) == code


def test_a_witness_may_be_behind_its_rows_after_a_crash(tmp_path: Path) -> None:
    written(tmp_path, 2)
    before = (tmp_path / "ledger-witness.json").read_bytes()
    file = open_file(tmp_path)
    with file.held():
        file.append(next_row(file))
    (tmp_path / "ledger-witness.json").write_bytes(before)
    with open_file(tmp_path).held():
        pass


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Index of each row that is checked, rather than read again."""
    found: list[int] = []

    def note(line: bytes, *, after: LedgerRow | None) -> LedgerRow:
        found.append(0 if after is None else after.index + 1)
        return decode_row(line, after=after)

    monkeypatch.setattr(ledger_file, "decode_row", note)
    return found


def test_rows_that_the_witness_names_are_read_again_and_only_later_ones_are_checked(
    tmp_path: Path, checked: list[int]
) -> None:
    written(tmp_path, 3)
    before = (tmp_path / "ledger-witness.json").read_bytes()
    file = open_file(tmp_path)
    with file.held():
        file.append(next_row(file))
    assert checked == []
    (tmp_path / "ledger-witness.json").write_bytes(before)
    again = open_file(tmp_path)
    with again.held():
        assert again.rows == file.rows
        assert [row.sha256 for row in again.rows] == [row.sha256 for row in file.rows]
        assert checked == [3]
        again.verify()
    assert checked == [3, 0, 1, 2, 3]


def test_rows_are_all_checked_where_no_witness_of_this_key_names_their_bytes(
    tmp_path: Path, checked: list[int]
) -> None:
    written(tmp_path, 3)
    witness = tmp_path / "ledger-witness.json"
    content = json.loads(witness.read_bytes())["witness"]
    of_before = {name: content[name] for name in content if name not in ("n_row_bytes", "rows_sha256")}
    key = key_of(tmp_path)
    for stated in (of_before | {"version": 1}, content | {"rows_sha256": "0" * 64}):
        signature = key.sign(b"osteofed ledger witness\n" + canonical_json(stated))
        signed = {"witness": stated, "public_key": key.public_hex, "signature": signature}
        witness.write_bytes(canonical_json(signed))
        with open_file(tmp_path).held():
            assert checked == [0, 1, 2]
        checked.clear()


def test_a_changed_byte_of_rows_that_were_checked_before_is_found(tmp_path: Path) -> None:
    written(tmp_path)
    rows = tmp_path / "ledger" / "ledger.jsonl"
    rows.write_bytes(rows.read_bytes().replace(b'"purpose":""', b'"purpose":"x"', 1))
    assert code_of(tmp_path) == "ledger.damaged"


def test_a_ledger_of_another_site_or_key_is_not_ones_own(tmp_path: Path) -> None:
    written(tmp_path)
    assert code_of(tmp_path, site="south") == "ledger.wrong-site"
    (tmp_path / "site.pem").unlink()
    assert code_of(tmp_path) == "ledger.damaged"


def test_a_ledger_that_shrinks_while_it_is_open_is_behind(tmp_path: Path) -> None:
    file = written(tmp_path)
    cut(tmp_path)
    with pytest.raises(LedgerError) as caught, file.held():
        pass
    assert caught.value.code == "ledger.behind"


def seen(folder: Path, head: str) -> Countersignature:
    key = key_of(folder, "coordinator")
    return Countersignature(
        head_sha256=head,
        plan_sha256=PLAN,
        coordinator_key=key.public_hex,
        signature=countersign(key, site="north", plan_sha256=PLAN, ledger_head=head),
    )


def test_a_countersignature_is_kept_once_and_only_of_a_head_that_is_here(tmp_path: Path) -> None:
    file = written(tmp_path)
    kept = tmp_path / "ledger" / "countersigned.jsonl"
    with file.held():
        one = seen(tmp_path, file.rows[1].sha256)
        file.append_countersignature(one)
        file.append_countersignature(one)
        with pytest.raises(LedgerError) as caught:
            file.append_countersignature(seen(tmp_path, "f" * 64))
        assert caught.value.code == "ledger.behind"
    assert len(kept.read_bytes().splitlines()) == 1
    kept.write_bytes(b"")
    assert code_of(tmp_path) == "ledger.damaged", "the witness knows of it"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, ""),
        ({"signature": "00" * 64}, "ledger.bad-countersignature"),
        ({"plan_sha256": "b" * 64}, "ledger.bad-countersignature"),
        ({"coordinator_key": "c" * 64}, "ledger.bad-countersignature"),
        ({"head_sha256": "f" * 64}, "ledger.bad-countersignature"),
        ({"another": 1}, "ledger.damaged"),
    ],
)
def test_a_countersignature_on_disk_is_checked_even_where_the_sites_own_witness_lies_on_it(
    tmp_path: Path, changes: dict[str, object], code: str
) -> None:
    file = written(tmp_path)
    with file.held():
        line = json.dumps(asdict(seen(tmp_path, file.rows[1].sha256)) | changes).encode() + b"\n"
        (tmp_path / "ledger" / "countersigned.jsonl").write_bytes(line)
        file._countersigned = line
        file._write_witness()  # as somebody with the site's key could
    if code:
        assert code_of(tmp_path) == code
    else:
        with open_file(tmp_path).held():
            pass


def test_rows_that_are_gone_are_missed_by_what_they_left_behind(tmp_path: Path) -> None:
    folder = tmp_path / "ledger"
    assert not has_rows(folder)
    written(tmp_path)
    assert has_rows(folder)
    (folder / "ledger.jsonl").write_bytes(b"")

    def missed() -> bool:
        try:
            return has_rows(folder)
        except LedgerError as error:
            return error.code == "ledger.missing"

    assert missed()
    forget_witness(tmp_path)
    assert not has_rows(folder)
    for trace in (folder / "countersigned.jsonl", folder / "members" / "x.json"):
        trace.parent.mkdir(exist_ok=True)
        trace.write_text("")
        assert missed(), trace.name
        trace.unlink()
    outbox = tmp_path / "outbox" / "outbox.jsonl"
    outbox.parent.mkdir()
    for word, is_trace in (("status", False), ("public", False), ("dp", True), ("governed", True)):
        outbox.write_text(f'{{"release_class":"{word}"}}\n')
        assert missed() is is_trace, word
    shutil.rmtree(outbox.parent)
    assert not has_rows(folder)
