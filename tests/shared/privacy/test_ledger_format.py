"""The ledger's rows: a chain that only its site can write, and that nobody can cut unnoticed."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import LedgerError
from shared.privacy.events import GaussianEvent
from shared.privacy.ledger_format import (
    GENESIS,
    LEDGER_VERSION,
    Countersignature,
    LedgerRow,
    decode_row,
    encode_row,
    keys_of,
    members_sha256,
    verify_chain,
)
from shared.signing.canonical import canonical_json, sha256_hex
from shared.signing.countersign import countersign
from shared.signing.keys import SigningKey, create_key

PLAN = "a" * 64


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return create_key(tmp_path / "site.pem")


def row_after(before: LedgerRow | None, key: SigningKey, **values: object) -> LedgerRow:
    plain: dict[str, object] = {
        "index": before.index + 1 if before else 0,
        "previous_sha256": before.sha256 if before else GENESIS,
        "utc": "2026-01-01T00:00:00+00:00",
        "site": "north",
        "public_key": key.public_hex,
        "kind": "charge" if before else "opened",
        "nonce": secrets.token_hex(16),
    }
    return LedgerRow(**plain | values)  # type: ignore[arg-type]


def chain(key: SigningKey, n: int = 4) -> list[LedgerRow]:
    rows: list[LedgerRow] = []
    for number in range(n):
        rows.append(row_after(rows[-1] if rows else None, key, request_sha256=str(number)))
    return rows


def lines(rows: list[LedgerRow], key: SigningKey) -> list[bytes]:
    return [encode_row(row, key) for row in rows]


def refused(written: list[bytes], key: SigningKey, **options: object) -> LedgerError:
    with pytest.raises(LedgerError) as caught:
        verify_chain(written, trusted_key=key.public_hex, **options)
    return caught.value


def test_a_row_is_named_by_the_hash_of_its_canonical_json(key: SigningKey) -> None:
    [row] = chain(key, 1)
    assert row.sha256 == sha256_hex(canonical_json(row.values()))
    assert row.previous_sha256 == "0" * 64
    assert (row.head.index, row.head.sha256) == (0, row.sha256)


def test_a_chain_is_read_back(key: SigningKey) -> None:
    rows = chain(key)
    assert verify_chain(lines(rows, key), trusted_key=key.public_hex) == rows
    assert verify_chain([], trusted_key=key.public_hex) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda written: written[1:],
        lambda written: [written[0], *written[2:]],
        lambda written: [written[0], written[2], written[1], written[3]],
        lambda written: [*written, written[-1]],
        lambda written: [written[0].replace(b'"north"', b'"south"'), *written[1:]],
        lambda written: [written[0][:-9]],
        lambda written: [b"{}"],
    ],
)
def test_rows_that_are_cut_out_swapped_repeated_or_changed_are_noticed(
    key: SigningKey, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    assert refused(change(lines(chain(key), key)), key).code == "ledger.damaged"


def test_a_row_of_another_site_is_damage_though_truly_signed_and_linked(key: SigningKey) -> None:
    rows = chain(key, 2)
    rows.append(row_after(rows[-1], key, site="south"))
    assert refused(lines(rows, key), key).code == "ledger.damaged"


def test_a_row_signed_by_another_key_is_damage(key: SigningKey, tmp_path: Path) -> None:
    other = create_key(tmp_path / "other.pem")
    rows = chain(key, 3)
    assert refused([*lines(rows[:2], key), encode_row(rows[2], other)], key).code == "ledger.damaged"
    named = replace(rows[2], public_key=other.public_hex)
    assert refused([*lines(rows[:2], key), encode_row(named, other)], key).code == "ledger.damaged"
    assert refused(lines(chain(other), other), key).code == "ledger.damaged"


def handed_over(key: SigningKey, new: SigningKey, **values: object) -> list[LedgerRow]:
    """Two rows, and one that hands the ledger over."""
    rows = chain(key, 2)
    draft = row_after(rows[-1], key, kind="rotated", next_public_key=new.public_hex)
    agreed = replace(draft, next_signature=new.sign(draft.rotation.content))
    return [*rows, replace(agreed, **values)]  # type: ignore[arg-type]


def test_a_ledger_goes_on_under_the_key_that_it_was_handed(key: SigningKey, tmp_path: Path) -> None:
    new = create_key(tmp_path / "new.pem")
    rows = handed_over(key, new)
    after = row_after(rows[-1], new)
    written = [*lines(rows, key), encode_row(after, new)]
    for trusted in (key, new):
        assert verify_chain(written, trusted_key=trusted.public_hex) == [*rows, after]
    assert keys_of([*rows, after]) == {key.public_hex, new.public_hex}
    late = row_after(rows[-1], key)
    assert refused([*lines(rows, key), encode_row(late, key)], key).code == "ledger.damaged"


@pytest.mark.parametrize(
    "values",
    [
        {"next_signature": "0" * 128},
        {"next_signature": ""},
        {"next_public_key": ""},
        {"kind": "charge"},
    ],
)
def test_nobody_is_handed_a_ledger_without_agreeing(
    key: SigningKey, tmp_path: Path, values: dict[str, object]
) -> None:
    rows = handed_over(key, create_key(tmp_path / "new.pem"), **values)
    assert refused(lines(rows, key), key).code == "ledger.damaged"


def seen(coordinator: SigningKey, head: str, site: str = "north") -> Countersignature:
    signature = countersign(coordinator, site=site, plan_sha256=PLAN, ledger_head=head)
    return Countersignature(
        head_sha256=head,
        plan_sha256=PLAN,
        coordinator_key=coordinator.public_hex,
        signature=signature,
    )


def test_a_ledger_cut_behind_a_countersigned_head_is_behind(key: SigningKey, tmp_path: Path) -> None:
    coordinator = create_key(tmp_path / "coordinator.pem")
    rows = chain(key)
    heads = [seen(coordinator, rows[1].sha256), seen(coordinator, rows[3].sha256)]
    verify_chain(lines(rows, key), trusted_key=key.public_hex, countersignatures=heads)
    cut = refused(lines(rows[:3], key), key, countersignatures=heads)
    assert cut.code == "ledger.behind"


def test_a_countersignature_counts_from_its_coordinator_and_for_its_site(
    key: SigningKey, tmp_path: Path
) -> None:
    coordinator, other = (create_key(tmp_path / f"{name}.pem") for name in "ab")
    rows = chain(key)
    head = rows[1].sha256
    wrong = [
        seen(other, head),
        seen(coordinator, head, site="south"),
        replace(seen(coordinator, head), plan_sha256="b" * 64),
        replace(seen(other, head), coordinator_key=coordinator.public_hex),
    ]
    for each in wrong:
        error = refused(
            lines(rows, key), key, countersignatures=[each], coordinator_key=coordinator.public_hex
        )
        assert error.code == "ledger.bad-countersignature"


def test_members_are_a_set_named_without_order_or_repetition() -> None:
    assert members_sha256(["b", "a", "b"]) == members_sha256(["a", "b"])
    assert members_sha256(["a", "b"]) == sha256_hex(b'["a","b"]')
    assert members_sha256(["a"]) != members_sha256(["a", "b"])


def test_only_a_row_with_all_of_its_noise_is_an_event(key: SigningKey) -> None:
    noised = {"noise_multiplier": 2.0, "sample_rate": 0.5, "steps": 3}
    row = row_after(None, key, **noised)
    assert row.event == GaussianEvent(noise_multiplier=2.0, sample_rate=0.5, steps=3)
    for name in noised:
        assert row_after(None, key, **noised | {name: None}).event is None


def test_rows_of_an_unknown_version_are_refused_by_it(key: SigningKey) -> None:
    line = json.loads(encode_row(chain(key, 1)[0], key))
    line["row"]["version"] = LEDGER_VERSION + 1
    with pytest.raises(LedgerError) as caught:
        decode_row(json.dumps(line).encode(), after=None)
    assert caught.value.code == "ledger.unknown-version"


@pytest.mark.parametrize("utc", ["2026-01-01T00:00:01+00:00", "2026-01-01T01:30:00+01:30", "soon", ""])
def test_a_row_tells_no_finer_time_than_its_hour_unless_an_earlier_version_wrote_it(
    key: SigningKey, utc: str
) -> None:
    with pytest.raises(LedgerError, match="finer time than its hour"):
        decode_row(encode_row(row_after(None, key, utc=utc), key), after=None)
    old = row_after(None, key, utc="2026-01-01T00:00:01.5+00:00", version=6)
    assert decode_row(encode_row(old, key), after=None) == old
    rows = [old, row_after(old, key, utc="2026-01-01T00:00:00+00:00")]
    assert verify_chain(lines(rows, key), trusted_key=key.public_hex) == rows


@pytest.mark.parametrize(
    ("version", "newer"),
    [
        (1, {"canaries_sha256", "next_public_key", "next_signature", "stage", "stage_kind"}),
        (2, {"stage", "stage_kind"}),
        (3, {"stage_kind"}),
        (4, set()),
    ],
)
def test_a_row_of_an_earlier_version_has_the_fields_it_had_then(
    key: SigningKey, version: int, newer: set[str]
) -> None:
    old = row_after(None, key, version=version)
    assert set(row_after(None, key).values()) - set(old.values()) == newer | {
        "nonce",
        "place_sha256",
        "lock_sha256",
    }
    old = row_after(None, key, version=version, nonce="")
    assert decode_row(encode_row(old, key), after=None) == old


@pytest.mark.parametrize("nonce", ["", "0" * 31, "0" * 33, "g" * 32])
def test_a_row_without_its_random_bytes_is_damaged(key: SigningKey, nonce: str) -> None:
    with pytest.raises(LedgerError, match="lacks its random bytes"):
        decode_row(encode_row(row_after(None, key, nonce=nonce), key), after=None)
