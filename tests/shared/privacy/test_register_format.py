"""The register's file: whole, private, and its coins committed to."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.errors import AuditError
from shared.privacy.register_format import (
    RegisterRecord,
    commit_coins,
    pack_register,
    read_register,
    write_register,
)
from shared.signing.canonical import sha256_hex

RECORD = RegisterRecord(
    site="north",
    plan_sha256="a" * 64,
    salt=b"\x01\x02",
    coins=np.array([True, False, True]),
    sums=np.array([[1.5, 2.5, 3.5], [4.5, 5.5, 6.5]]),
    rounds=np.array([1, 2]),
    places=np.array([[4, 0, 2], [1, 3, 0]], dtype=np.int32),
    length=5,
)


def test_coins_are_committed_to_with_their_salt() -> None:
    assert RECORD.commitment == sha256_hex(b"\x01\x02" + b"\x01\x00\x01")
    assert commit_coins(b"\x01\x03", RECORD.coins) != RECORD.commitment
    assert commit_coins(RECORD.salt, ~RECORD.coins) != RECORD.commitment


def test_a_record_is_read_back_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "register.npz"
    write_register(path, RECORD)
    assert path.stat().st_mode & 0o777 == 0o600
    found = read_register(path)
    assert (found.site, found.salt, found.plan_sha256) == ("north", b"\x01\x02", "a" * 64)
    assert found.commitment == RECORD.commitment
    np.testing.assert_array_equal(found.sums, RECORD.sums)
    np.testing.assert_array_equal(found.rounds, RECORD.rounds)
    np.testing.assert_array_equal(found.places, RECORD.places)
    assert found.length == 5


@pytest.mark.parametrize(
    "values",
    [
        {"sums": np.zeros((2, 2))},
        {"sums": np.zeros((1, 3))},
        {"rounds": np.array([1, 2, 3])},
        {"places": np.array([[4, 0, 2]])},
        {"places": np.array([[4, 0, 2], [1, 1, 0]])},
        {"places": np.array([[4, 0, 2], [1, -1, 0]])},
        {"length": 4},
    ],
)
def test_parts_that_do_not_fit_together_are_refused(
    tmp_path: Path, values: dict[str, np.ndarray]
) -> None:
    path = tmp_path / "register.npz"
    write_register(path, replace(RECORD, **values))
    with pytest.raises(AuditError) as caught:
        read_register(path)
    assert caught.value.code == "audit.unreadable-register"


def test_another_version_or_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "register.npz"
    with np.load(io.BytesIO(pack_register(RECORD))) as content:
        parts = dict(content.items())
    np.savez(path, **parts | {"version": np.array(1)})
    with pytest.raises(AuditError):
        read_register(path)
    path.write_bytes(b"nothing")
    with pytest.raises(AuditError):
        read_register(path)
