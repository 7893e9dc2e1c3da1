"""A ledger on disk: rows, countersignatures and a witness, under one writer lock.

    ledger/ledger.jsonl          the rows, one line each
    ledger/countersigned.jsonl   heads that a coordinator has countersigned
    ledger/lock                  held while anybody reads or writes; never written, so that it tells
                                 this folder from a copy (``client.gate.place``)
    ledger-witness.json          beside the folder: where rows and countersignatures stood last, signed

A torn last line is cut: it was never acknowledged, so nothing was done on it. The witness is written
after each line and must lie on the chain, so a file or the folder that was put back from a copy, cut
or deleted is noticed here, without the coordinator. It names the bytes of all rows by one hash, so that
rows which this site has checked and signed for are read again without checking each; ``verify`` checks
them all. Imports the ledger's format, files and keys.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from client.gate.place import place_sha256
from shared.errors import LedgerError
from shared.machine.files import make_folder, sync_folder, write_atomic
from shared.privacy.ledger_format import (
    ChargeClass,
    Countersignature,
    LedgerHead,
    LedgerRow,
    behind_error,
    check_countersignature,
    decode_row,
    encode_row,
    foreign_error,
    reread_row,
)
from shared.signing.canonical import canonical_json, sha256_hex
from shared.signing.keys import SigningKey, verify

# From this version of a row on there is a witness; earlier ledgers may have none.
WITNESSED_SINCE = 5
WITNESS_VERSION = 2  # 2: length and hash of the rows
_ROWS_FILE, _COUNTERSIGNED_FILE, _LOCK_FILE = "ledger.jsonl", "countersigned.jsonl", "lock"
_CHARGED = get_args(ChargeClass)
_WITNESS_DOMAIN = b"osteofed ledger witness\n"
# In every version.
_STATED = ("site", "head_sha256", "n_countersigned_bytes", "countersigned_sha256")


class LedgerFile:
    """Rows and countersignatures of one site, as they stand on disk while the lock is held.

    Args:
        folder: the site's ``ledger`` folder; made when absent.
        site: the site's name.
        key: the site's signing key.
        admit: called once with each row, in order, when it is read or appended.
    """

    def __init__(
        self, folder: Path, *, site: str, key: SigningKey, admit: Callable[[LedgerRow], None]
    ) -> None:
        self.key = key
        self.rows: list[LedgerRow] = []
        self.countersignatures: list[Countersignature] = []
        self._site = site
        self._admit_elsewhere = admit
        self._hashes: set[str] = set()
        self._keys: set[str] = set()
        self._folder = folder
        self._path = folder / _ROWS_FILE
        self._countersigned_path = folder / _COUNTERSIGNED_FILE
        self._witness_path = _witness_of(folder)
        self._n_read = 0
        self._rows_hash = hashlib.sha256()
        self._countersigned = b""
        self._witness: bytes | None = None
        make_folder(folder, mode=0o700)

    def place_sha256(self, nonce: str) -> str:
        """Where the folder lies now, as a hash under a row's random bytes."""
        return place_sha256(self._folder / _LOCK_FILE, nonce)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the one writer lock with every line on disk read and checked.

        Raises:
            LedgerError: damaged, of another version or site, handed over to another key, or behind a
                countersigned head or the witness.
        """
        descriptor = os.open(self._folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._read_rows()
            self._read_countersignatures()
            self._check_witness()
            yield
        finally:
            os.close(descriptor)

    def append(self, row: LedgerRow, *, next_key: SigningKey | None = None) -> LedgerRow:
        """Write a row, flushed to disk when this returns it; ``next_key`` signs from then on."""
        line = encode_row(row, self.key)
        _append_and_sync(self._path, line)
        self._admit(row, line)
        self.key = next_key or self.key
        self._write_witness()
        return row

    def append_countersignature(self, countersignature: Countersignature) -> None:
        """Keep a countersignature of a head that is in this ledger; one that is kept already is left.

        Raises:
            LedgerError: this ledger has no such head.
        """
        if countersignature.head_sha256 not in self._hashes:
            raise behind_error()
        if countersignature in self.countersignatures:
            return
        line = canonical_json(asdict(countersignature)) + b"\n"
        _append_and_sync(self._countersigned_path, line)
        self.countersignatures.append(countersignature)
        self._countersigned += line
        self._write_witness()

    def lines(self) -> list[bytes]:
        """The rows' lines as they are on disk."""
        return self._path.read_bytes().split(b"\n")[:-1]

    def verify(self) -> LedgerHead:
        """Check every line from the files, whatever was read before; for the holder of the lock."""
        fresh = LedgerFile(self._folder, site=self._site, key=self.key, admit=lambda _: None)
        fresh._read_rows(anew=True)
        fresh._read_countersignatures()
        fresh._check_witness()
        return fresh.rows[-1].head

    def _read_rows(self, *, anew: bool = False) -> None:
        lines = _whole_lines_after(self._path, self._n_read)
        n_known = 0 if anew or self.rows else self._n_witnessed(lines)
        for place, line in enumerate(lines):
            after = self.rows[-1] if self.rows else None
            row = reread_row(line) if place < n_known else decode_row(line, after=after)
            self._admit(row, line)
        own = self.key.public_hex
        if self.rows and own not in self._keys:
            raise foreign_error()
        if self.rows and self.rows[-1].successor_key != own:
            raise LedgerError(
                "key-handed-over",
                "this ledger was handed over to another key than keys/signing.pem",
                hint="finish it: `osteofed-site rotate-key` once more, or restore the newest key",
            )

    def _n_witnessed(self, lines: Sequence[bytes]) -> int:
        """How many first rows are byte for byte those that this key has signed the witness of."""
        try:
            content, signer = _open_witness(self._witness_path.read_bytes())
            rows = b"".join(lines)[: content["n_row_bytes"]]
        except (LedgerError, OSError, KeyError, TypeError):
            return 0
        is_own = (signer, content["site"]) == (self.key.public_hex, self._site)
        return rows.count(b"\n") if is_own and sha256_hex(rows) == content["rows_sha256"] else 0

    def _read_countersignatures(self) -> None:
        for line in _whole_lines_after(self._countersigned_path, len(self._countersigned)):
            try:
                read = Countersignature(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise _changed(f"a countersignature cannot be read: {type(error).__name__}") from None
            check_countersignature(read, site=self._site, coordinator_key=read.coordinator_key)
            if read.head_sha256 not in self._hashes:
                raise behind_error()
            self.countersignatures.append(read)
            self._countersigned += line

    def _admit(self, row: LedgerRow, line: bytes) -> None:
        if row.site != self._site:
            raise LedgerError("wrong-site", f"this ledger belongs to {row.site}, not {self._site}")
        self.rows.append(row)
        self._hashes.add(row.sha256)
        self._keys |= {row.public_key, row.successor_key}
        self._n_read += len(line)
        self._rows_hash.update(line)
        self._admit_elsewhere(row)

    def _write_witness(self) -> None:
        content = {
            "version": WITNESS_VERSION,
            "site": self._site,
            "head_sha256": self.rows[-1].sha256,
            "n_row_bytes": self._n_read,
            "rows_sha256": self._rows_hash.hexdigest(),
            "n_countersigned_bytes": len(self._countersigned),
            "countersigned_sha256": sha256_hex(self._countersigned),
        }
        signed = {
            "witness": content,
            "public_key": self.key.public_hex,
            "signature": self.key.sign(_WITNESS_DOMAIN + canonical_json(content)),
        }
        self._witness = canonical_json(signed)
        write_atomic(self._witness_path, self._witness, mode=0o600)

    def _check_witness(self) -> None:
        if not self._witness_path.exists():
            # It follows the first row since version 5; a crash may have come between.
            if sum(row.version >= WITNESSED_SINCE for row in self.rows) > 1:
                raise _changed("the ledger's witness is missing")
            return
        data = self._witness_path.read_bytes()
        if data == self._witness:
            return
        content, signer = _open_witness(data)
        if signer not in self._keys or content["site"] != self._site:
            raise _changed("the ledger's witness was changed")
        stood, n_bytes = content["head_sha256"], content["n_countersigned_bytes"]
        if stood not in self._hashes:
            raise behind_error()
        if content["countersigned_sha256"] != sha256_hex(self._countersigned[:n_bytes]):
            raise _changed("countersignatures are missing or were changed")
        self._witness = data


def has_rows(folder: Path) -> bool:
    """Whether a ledger's folder holds any row.

    Raises:
        LedgerError: ``missing``: none, though a witness, countersignatures, member lists or messages
            that left are there, which come after the first row only.
    """
    rows = folder / _ROWS_FILE
    if rows.exists() and rows.stat().st_size:
        return True
    outbox = folder.with_name("outbox") / "outbox.jsonl"
    left = outbox.read_bytes() if outbox.exists() else b""
    traces = {
        _witness_of(folder).name: _witness_of(folder).exists(),
        _COUNTERSIGNED_FILE: (folder / _COUNTERSIGNED_FILE).exists(),
        "a member list": any((folder / "members").glob("*.json")),
        outbox.name: any(b'"release_class":"%s"' % word.encode() in left for word in _CHARGED),
    }
    found = [name for name, is_there in traces.items() if is_there]
    if found:
        raise LedgerError(
            "missing",
            f"{_ROWS_FILE} is gone or empty, but {found[0]} shows that there was one",
            hint="restore the ledger folder as a whole from its newest copy; nothing runs without it",
        )
    return False


def _open_witness(data: bytes) -> tuple[dict[str, Any], str]:
    """What a witness states, and the key that has signed it.

    Raises:
        LedgerError: unreadable, of an unknown version, or not signed by the key that it names.
    """
    try:
        signed = json.loads(data)
        content, signer = signed["witness"], signed["public_key"]
        is_known = 1 <= content["version"] <= WITNESS_VERSION and set(_STATED) <= set(content)
        statement = _WITNESS_DOMAIN + canonical_json(content)
        is_genuine = is_known and verify(signer, statement, signed["signature"])
    except (ValueError, KeyError, TypeError) as error:
        raise _changed(f"the ledger's witness cannot be read: {type(error).__name__}") from None
    if not is_genuine:
        raise _changed("the ledger's witness was changed")
    return content, signer


def _witness_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-witness.json")


def _whole_lines_after(path: Path, n_read: int) -> list[bytes]:
    """Lines of a file, newlines included, from a byte on; a torn last one is cut from the file.

    Raises:
        LedgerError: the file is shorter than what was read of it before.
    """
    size = path.stat().st_size if path.exists() else 0
    if size < n_read:
        raise behind_error()
    if size == n_read:
        return []
    with path.open("r+b") as stream:
        stream.seek(n_read)
        whole, newline, torn = stream.read().rpartition(b"\n")
        if torn:
            stream.truncate(n_read + len(whole) + len(newline))
            os.fsync(stream.fileno())
    return (whole + newline).splitlines(keepends=True)


def _append_and_sync(path: Path, line: bytes) -> None:
    is_new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        written = os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if written != len(line):
        raise LedgerError("disk-full", "a ledger row could not be written whole")
    if is_new:
        sync_folder(path.parent)


def _changed(what: str) -> LedgerError:
    return LedgerError(
        "damaged",
        what,
        hint="keep the files as evidence, restore the newest intact copy, tell the auditor",
    )
