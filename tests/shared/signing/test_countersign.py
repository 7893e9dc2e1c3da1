"""A countersignature is of one coordinator, one site, one plan and one head."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.signing.countersign import countersign, verify_countersignature
from shared.signing.keys import create_key

SEEN = {"site": "north", "plan_sha256": "a" * 64, "ledger_head": "b" * 64}


def test_it_is_verified_with_the_coordinators_key_alone(tmp_path: Path) -> None:
    key, other = create_key(tmp_path / "a.pem"), create_key(tmp_path / "b.pem")
    signature = countersign(key, **SEEN)
    assert verify_countersignature(key.public_hex, signature, **SEEN)
    assert not verify_countersignature(other.public_hex, signature, **SEEN)


@pytest.mark.parametrize("name", sorted(SEEN))
def test_it_holds_for_no_other_site_plan_or_head(tmp_path: Path, name: str) -> None:
    key = create_key(tmp_path / "a.pem")
    signature = countersign(key, **SEEN)
    assert not verify_countersignature(key.public_hex, signature, **SEEN | {name: "c" * 64})


def test_a_head_and_a_plan_cannot_change_places(tmp_path: Path) -> None:
    key = create_key(tmp_path / "a.pem")
    signature = countersign(key, **SEEN)
    swapped = SEEN | {"plan_sha256": SEEN["ledger_head"], "ledger_head": SEEN["plan_sha256"]}
    assert not verify_countersignature(key.public_hex, signature, **swapped)
