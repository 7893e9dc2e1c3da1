"""A notice of a replaced key is believed only from the enrolled key and the one that follows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import LedgerError
from shared.signing.canonical import canonical_json
from shared.signing.key_rotation import KeyRotation, read_notice, write_notice
from shared.signing.keys import SigningKey, create_key


@pytest.fixture
def keys(tmp_path: Path) -> tuple[SigningKey, SigningKey]:
    return create_key(tmp_path / "old.pem"), create_key(tmp_path / "new.pem")


@pytest.fixture
def notice(keys: tuple[SigningKey, SigningKey], tmp_path: Path) -> Path:
    old, new = keys
    rotation = KeyRotation(
        site="north", old_key=old.public_hex, new_key=new.public_hex, ledger_head="a" * 64
    )
    path = tmp_path / "notice.json"
    write_notice(path, rotation, old=old, new_signature=new.sign(rotation.content))
    return path


def code_of(path: Path, enrolled: dict[str, str]) -> str:
    with pytest.raises(LedgerError) as caught:
        read_notice(path, enrolled_keys=enrolled)
    return caught.value.code


def test_a_notice_signed_by_both_keys_is_read_back(
    notice: Path, keys: tuple[SigningKey, SigningKey]
) -> None:
    rotation = read_notice(notice, enrolled_keys={"north": keys[0].public_hex})
    assert (rotation.site, rotation.new_key) == ("north", keys[1].public_hex)
    assert rotation.ledger_head == "a" * 64


def test_a_notice_of_another_site_or_from_a_key_that_is_not_enrolled_is_refused(
    notice: Path, keys: tuple[SigningKey, SigningKey]
) -> None:
    old, new = (key.public_hex for key in keys)
    for enrolled in ({}, {"north": new}, {"south": old}):
        assert code_of(notice, enrolled) == "ledger.forged-rotation"


@pytest.mark.parametrize("name", ["old_signature", "new_signature", "ledger_head", "new_key", "site"])
def test_any_change_is_a_forgery(notice: Path, keys: tuple[SigningKey, SigningKey], name: str) -> None:
    content = json.loads(notice.read_bytes())
    content[name] = "0" * len(content[name])
    notice.write_text(json.dumps(content))
    old = keys[0].public_hex
    assert code_of(notice, {"north": old, "00000": old}) == "ledger.forged-rotation"


def test_the_new_keys_own_signature_is_needed_beside_the_old_ones(
    notice: Path, keys: tuple[SigningKey, SigningKey]
) -> None:
    content = json.loads(notice.read_bytes())
    content["new_signature"] = content["old_signature"]
    notice.write_text(json.dumps(content))
    assert code_of(notice, {"north": keys[0].public_hex}) == "ledger.forged-rotation"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda content: content.update(version=2), "ledger.unknown-version"),
        (lambda content: content.pop("version"), "ledger.unreadable-rotation"),
        (lambda content: content.pop("new_key"), "ledger.unreadable-rotation"),
        (lambda content: content.update(more=1), "ledger.unreadable-rotation"),
    ],
)
def test_a_notice_of_another_form_is_refused(
    notice: Path, change: Callable[[dict[str, object]], object], code: str
) -> None:
    content = json.loads(notice.read_bytes())
    change(content)
    notice.write_text(json.dumps(content))
    assert code_of(notice, {}) == code


def test_what_is_signed_is_told_from_every_other_signed_content() -> None:
    rotation = KeyRotation(site="north", old_key="a", new_key="b", ledger_head="c")
    plain = {"ledger_head": "c", "new_key": "b", "old_key": "a", "site": "north"}
    assert rotation.content == b"osteofed key rotation\n" + canonical_json(plain)
