"""A ledger that was handed over is believed row by row, of the site that is enrolled, once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.errors import LedgerError
from shared.privacy.ledger_export import Account, LedgerExport, read_exports, write_export
from shared.privacy.ledger_format import GENESIS, LedgerRow, encode_row
from shared.signing.keys import SigningKey, create_key

ACCOUNT = Account(
    epsilon_spent=1.0, epsilon_left=float("inf"), epsilon_cap=float("inf"), delta=1e-5, n_unprotected=0
)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return create_key(tmp_path / "site.pem")


def export(tmp_path: Path, key: SigningKey, site: str = "north") -> Path:
    row = LedgerRow(
        index=0,
        previous_sha256=GENESIS,
        utc="2026-01-01T00:00:00+00:00",
        site=site,
        public_key=key.public_hex,
        kind="opened",
        nonce="0" * 32,
    )
    path = tmp_path / f"{site}.json"
    write_export(
        path,
        LedgerExport(
            site=site,
            public_key=key.public_hex,
            account=ACCOUNT,
            lines=(json.loads(encode_row(row, key)),),
            countersignatures=(),
        ),
    )
    return path


def code_of(paths: list[Path], trusted: dict[str, str]) -> str:
    with pytest.raises(LedgerError) as caught:
        read_exports(paths, trusted_keys=trusted)
    return caught.value.code


def test_an_export_is_read_back_with_an_endless_budget(tmp_path: Path, key: SigningKey) -> None:
    trusted = {"north": key.public_hex, "south": key.public_hex}
    found = read_exports([export(tmp_path, key)], trusted_keys=trusted)
    assert list(found) == ["north"]
    assert found["north"].account == ACCOUNT
    assert [row.kind for row in found["north"].rows(trusted_key=key.public_hex)] == ["opened"]


def test_each_known_site_hands_over_one(tmp_path: Path, key: SigningKey) -> None:
    path = export(tmp_path, key)
    assert code_of([path], {"south": key.public_hex}) == "ledger.unexpected-export"
    assert code_of([path, path], {"north": key.public_hex}) == "ledger.unexpected-export"


def test_rows_are_checked_against_the_enrolled_key_and_not_the_one_in_the_file(
    tmp_path: Path, key: SigningKey
) -> None:
    other = create_key(tmp_path / "other.pem")
    assert code_of([export(tmp_path, key)], {"north": other.public_hex}) == "ledger.damaged"


def test_a_changed_line_or_another_file_is_refused(tmp_path: Path, key: SigningKey) -> None:
    path = export(tmp_path, key)
    content = json.loads(path.read_bytes())
    content["lines"][0]["row"]["utc"] = "2025-01-01T00:00:00+00:00"
    path.write_text(json.dumps(content))
    assert code_of([path], {"north": key.public_hex}) == "ledger.damaged"
    path.write_text(json.dumps(content | {"more": 1}))
    assert code_of([path], {"north": key.public_hex}) == "ledger.unreadable-export"
    assert code_of([tmp_path / "none"], {"north": key.public_hex}) == "ledger.unreadable-export"
