"""The registry: who is enrolled with which key, and whose word changes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.federation.folder import (
    Home,
    accept_key,
    accept_node_key,
    create_home,
    enrol,
    revoke,
)
from server.federation.join_request import JoinRequest
from shared.errors import OsteoFedError, PlanError
from shared.privacy.ledger_format import LedgerHead
from shared.signing.canonical import canonical_json
from shared.signing.key_rotation import KeyRotation, write_notice
from shared.signing.keys import SigningKey, create_key, load_key, verify
from shared.signing.node_notice import NodeNotice, write_node_notice

NOW = datetime(2026, 1, 5, tzinfo=UTC)
NODE = "ecdsa-sha2-nistp384 AAAA"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return create_home(tmp_path / "coordinator")


def key_of(folder: Path, name: str) -> SigningKey:
    path = folder / "keys" / f"{name}.pem"
    return load_key(path) if path.exists() else create_key(path)


def request(
    folder: Path,
    name: str,
    *,
    key: SigningKey | None = None,
    node: str | None = None,
    **changes: object,
) -> Path:
    """A join request, truly signed unless it was changed afterwards."""
    key, node = key or key_of(folder, name), node or f"{NODE}{name}"
    plain = JoinRequest(site=name, public_key=key.public_hex, node_key=node, declared_patients=100)
    signed = plain.model_copy(update={"signature": key.sign(plain.signed_bytes())})
    path = folder / f"{name}-request.json"
    path.write_text(json.dumps(signed.model_dump() | changes))
    return path


def join(home: Home, folder: Path, site: str, *, role: str = "training", **options: object) -> Path:
    return enrol(home, request(folder, site, **options), role=role, is_required=True, now=NOW)


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(OsteoFedError) as caught:
        action()
    return caught.value.code


def test_an_enrolled_site_gets_the_coordinators_key_signed(home: Home, tmp_path: Path) -> None:
    answer = json.loads(join(home, tmp_path, "north").read_bytes())
    content = {"site": "north", "coordinator_key": home.key().public_hex, "role": "training"}
    assert verify(home.key().public_hex, canonical_json(content), answer.pop("signature"))
    assert answer == content
    [entry] = home.sites()
    assert (entry.site, entry.declared_patients, entry.node_key) == ("north", 100, f"{NODE}north")
    assert (entry.enrolled_utc, entry.revoked_utc) == (NOW.isoformat(), None)


def test_a_key_that_was_not_told_is_refused_before_anything_is_written(
    home: Home, tmp_path: Path
) -> None:
    def refuse(asked: JoinRequest) -> None:
        raise PlanError("untold-key", asked.site)

    before, path = sorted(home.folder.rglob("*")), request(tmp_path, "north")
    refused = code_of(
        lambda: enrol(home, path, role="training", is_required=True, now=NOW, compare=refuse)
    )
    assert refused == "plan.untold-key"
    assert sorted(home.folder.rglob("*")) == before


def test_a_name_is_enrolled_once_until_it_is_revoked(home: Home, tmp_path: Path) -> None:
    join(home, tmp_path, "north")
    join(home, tmp_path, "south", role="external")
    assert code_of(lambda: join(home, tmp_path, "north")) == "plan.already-enrolled"
    revoke(home, "north", now=NOW)
    assert [site.site for site in home.active_sites()] == ["south"]
    assert [site.revoked_utc for site in home.sites()] == [NOW.isoformat(), None]
    assert code_of(lambda: revoke(home, "north", now=NOW)) == "plan.unknown-site"
    fresh = key_of(tmp_path, "fresh")
    join(home, tmp_path, "north", key=fresh, node=f"{NODE}fresh")
    assert [site.site for site in home.active_sites()] == ["south", "north"]
    assert home.node_keys() == {"south": f"{NODE}south", "north": f"{NODE}fresh"}


def test_a_revoked_site_comes_back_under_new_keys_only(home: Home, tmp_path: Path) -> None:
    join(home, tmp_path, "north")
    join(home, tmp_path, "south")
    revoke(home, "north", now=NOW)
    fresh, north = key_of(tmp_path, "fresh"), key_of(tmp_path, "north")
    for name in ("north", "another"):
        again = code_of(lambda name=name: join(home, tmp_path, name, key=north, node=f"{NODE}fresh"))
        assert again == "plan.key-in-use"
        for node in ("north", "south"):
            used = f"{NODE}{node}"
            again = code_of(
                lambda name=name, used=used: join(home, tmp_path, name, key=fresh, node=used)
            )
            assert again == "plan.node-key-in-use"
    assert [site.site for site in home.active_sites()] == ["south"]
    join(home, tmp_path, "north", key=fresh, node=f"{NODE}fresh")


def notice(folder: Path, old: SigningKey, new: SigningKey, site: str = "north") -> Path:
    rotation = KeyRotation(
        site=site, old_key=old.public_hex, new_key=new.public_hex, ledger_head="a" * 64
    )
    path = folder / "notice.json"
    write_notice(path, rotation, old=old, new_signature=new.sign(rotation.content))
    return path


def test_a_key_is_replaced_by_the_one_it_hands_over_to(home: Home, tmp_path: Path) -> None:
    one, two, three = (key_of(tmp_path, name) for name in ("north", "second", "third"))
    join(home, tmp_path, "north")
    join(home, tmp_path, "south")
    accept_key(home, notice(tmp_path, one, two))
    accept_key(home, notice(tmp_path, two, three))
    entry = home.active_sites()[0]
    assert entry.public_key == three.public_hex
    assert entry.former_keys == (one.public_hex, two.public_hex)
    assert home.active_sites()[1].former_keys == ()
    keys = (one.public_hex, two.public_hex, three.public_hex)
    for start in range(3):
        assert home.keys_since("north", keys[start]) == keys[start:]
    assert home.keys_since("north", "f" * 64) == ("f" * 64,)
    assert home.keys_since("south", one.public_hex) == (one.public_hex,)
    kept = home.folder / "rotations" / "north" / f"{two.public_hex}.json"
    assert kept.exists()


def test_a_key_serves_one_enrolment_and_once_only(home: Home, tmp_path: Path) -> None:
    one, two, south = (key_of(tmp_path, name) for name in ("north", "second", "south"))
    join(home, tmp_path, "north")
    join(home, tmp_path, "south")
    assert code_of(lambda: accept_key(home, notice(tmp_path, one, south))) == "plan.key-in-use"
    accept_key(home, notice(tmp_path, one, two))
    assert code_of(lambda: accept_key(home, notice(tmp_path, two, one))) == "plan.key-in-use"
    assert home.active_sites()[0].public_key == two.public_hex


def node_notice(folder: Path, key: SigningKey, node_key: str, site: str = "north") -> Path:
    path = folder / "node-notice.json"
    write_node_notice(path, NodeNotice(site=site, node_key=node_key), key=key)
    return path


def test_a_node_key_is_replaced_and_no_earlier_notice_brings_one_back(
    home: Home, tmp_path: Path
) -> None:
    signing, two, three = key_of(tmp_path, "north"), f"{NODE}2", f"{NODE}3"
    join(home, tmp_path, "north")
    for node_key in (two, three):
        accept_node_key(home, node_notice(tmp_path, signing, node_key))
    [entry] = home.active_sites()
    assert (entry.node_key, entry.former_node_keys) == (three, (f"{NODE}north", two))
    for again in (f"{NODE}north", two, three):
        path = node_notice(tmp_path, signing, again)
        assert code_of(lambda path=path: accept_node_key(home, path)) == "plan.node-key-in-use"
    revoke(home, "north", now=NOW)
    path = node_notice(tmp_path, signing, f"{NODE}4")
    assert code_of(lambda: accept_node_key(home, path)) == "protocol.forged-node-notice"


def test_a_revoked_sites_key_cannot_hand_over(home: Home, tmp_path: Path) -> None:
    join(home, tmp_path, "north")
    revoke(home, "north", now=NOW)
    path = notice(tmp_path, key_of(tmp_path, "north"), key_of(tmp_path, "second"))
    assert code_of(lambda: accept_key(home, path)) == "ledger.forged-rotation"


def test_a_home_keeps_its_key_and_names_what_it_lacks(tmp_path: Path, home: Home) -> None:
    assert create_home(home.folder).key().public_hex == home.key().public_hex
    assert code_of(Home(tmp_path / "nowhere").key) == "run.no-coordinator"
    assert code_of(lambda: home.planned_run("spring")) == "run.unknown-run"
    folder = home.run_folder("spring")
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text("{}")
    assert home.planned_run("spring") == folder


def heads(**named: tuple[int, str]) -> dict[str, LedgerHead]:
    return {site: LedgerHead(index=index, sha256=sha256) for site, (index, sha256) in named.items()}


def test_ledger_heads_are_kept_over_runs(tmp_path: Path) -> None:
    Home(tmp_path).record_heads(heads(ash=(2, "aa"), elm=(2, "bb")))
    Home(tmp_path).record_heads(heads(elm=(4, "cc")))
    assert Home(tmp_path).ledger_heads() == {"ash": "aa", "elm": "cc"}


def test_a_head_that_comes_again_is_not_the_last_one_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.heads_file.write_text('{"version": 1, "heads": {"elm": "bb"}, "seen": {"elm": ["aa", "bb"]}}')
    for repeated in ((2, "aa"), (4, "bb"), (2, "aa"), (0, "")):
        home.record_heads(heads(elm=repeated))
        assert home.ledger_heads() == {"elm": "bb"}
    home.record_heads(heads(elm=(6, "cc")))
    assert home.ledger_heads() == {"elm": "cc"}
    assert home.forked_ledgers() == frozenset(), "heads of version 1 had no index"


def test_a_ledger_is_known_by_the_key_that_its_site_was_enrolled_with(
    home: Home, tmp_path: Path
) -> None:
    join(home, tmp_path, "elm")
    old, new = key_of(tmp_path, "elm"), create_key(tmp_path / "new.pem")
    named = {"elm": old.public_hex}
    home.record_heads({home.ledgers_of(named)["elm"]: LedgerHead(index=2, sha256="aa")})
    home.change("elm", public_key=new.public_hex, former_keys=(old.public_hex,))
    for key in (old, new):  # one ledger, whichever key a plan names
        assert home.heads_of({"elm": key.public_hex}) == {"elm": "aa"}
    revoke(home, "elm", now=NOW)
    back = create_key(tmp_path / "back.pem")
    join(home, tmp_path, "elm", key=back, node=f"{NODE}back")
    assert home.heads_of({"elm": back.public_hex}) == {}
    home.record_heads({back.public_hex: LedgerHead(index=2, sha256="bb")})
    assert home.heads_of({"elm": back.public_hex, "fir": "0" * 64}) == {"elm": "bb"}
    assert home.heads_of({"elm": new.public_hex}) == {"elm": "aa"}
    assert home.forked_ledgers() == frozenset(), "two hospitals of one name are no fork"


def test_heads_that_were_kept_by_name_go_to_the_enrolment_where_there_was_one_only(
    home: Home, tmp_path: Path
) -> None:
    join(home, tmp_path, "ash")
    join(home, tmp_path, "elm")
    revoke(home, "elm", now=NOW)
    back = create_key(tmp_path / "back.pem")
    join(home, tmp_path, "elm", key=back, node=f"{NODE}back")
    rows = {"ash": {"aa": 2, "ab": 2}, "elm": {"ba": 2, "bb": 2}}
    last = {"ash": "ab", "elm": "bb"}
    home.heads_file.write_text(json.dumps({"version": 2, "heads": last, "seen": rows}))
    ash = key_of(tmp_path, "ash").public_hex
    assert home.ledger_heads() == {ash: "ab"}
    assert home.forked_ledgers() == {ash}, "of two hospitals named elm nobody knows"
    assert home.has_seen(back.public_hex, "ba")
    home.record_heads({back.public_hex: LedgerHead(index=2, sha256="cc")})
    assert json.loads(home.heads_file.read_text())["version"] == 3
    assert home.ledger_heads() == {ash: "ab", back.public_hex: "cc"}
    assert home.has_seen(back.public_hex, "ba")


def test_two_rows_at_one_place_of_a_ledger_are_a_fork(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.record_heads(heads(ash=(2, "aa"), elm=(2, "bb")))
    home.record_heads(heads(ash=(2, "aa"), elm=(4, "cc")))
    assert home.forked_ledgers() == frozenset()
    home.record_heads(heads(elm=(4, "dd")))
    assert Home(tmp_path).forked_ledgers() == {"elm"}
