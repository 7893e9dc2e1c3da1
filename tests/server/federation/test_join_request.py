"""A request to be enrolled is a whole file, signed by the key in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from server.federation.join_request import JoinRequest, read_join_request
from shared.errors import PlanError
from shared.signing.keys import create_key


def request(folder: Path, **changes: object) -> Path:
    """A join request, truly signed unless it was changed afterwards."""
    key = create_key(folder / "key.pem")
    node = "ecdsa-sha2-nistp384 AAAA"
    plain = JoinRequest(site="north", public_key=key.public_hex, node_key=node, declared_patients=100)
    signed = plain.model_copy(update={"signature": key.sign(plain.signed_bytes())})
    path = folder / "request.json"
    path.write_text(json.dumps(signed.model_dump() | changes))
    return path


def test_a_request_is_read_as_it_was_signed(tmp_path: Path) -> None:
    found = read_join_request(request(tmp_path))
    assert (found.site, found.declared_patients) == ("north", 100)


@pytest.mark.parametrize(
    "changes",
    [
        {"site": "south"},
        {"declared_patients": 101},
        {"node_key": "ecdsa-sha2-nistp384 BBBB"},
        {"public_key": "0" * 64},
        {"signature": ""},
    ],
)
def test_a_request_is_signed_by_the_key_in_it(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(PlanError) as caught:
        read_join_request(request(tmp_path, **changes))
    assert caught.value.code == "plan.forged-join-request"


@pytest.mark.parametrize(
    "changes", [{"more": 1}, {"site": "North"}, {"declared_patients": 0}, {"node_key": "rsa"}]
)
def test_another_file_is_no_request(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(PlanError) as caught:
        read_join_request(request(tmp_path, **changes))
    assert caught.value.code == "plan.unreadable-join-request"
