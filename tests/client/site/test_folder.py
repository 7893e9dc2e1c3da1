"""A site's folder: made once, readable by its owner, joined to one coordinator."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from client.site.folder import create_site, declare_size, join_federation, open_site
from client.site.profile import SiteProfile
from server.federation.folder import create_home, enrol
from shared.errors import IntakeError, OsteoFedError, PlanError, PolicyError, ProtocolError

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def make(folder: Path, name: str = "aster") -> Path:
    return create_site(folder, name=name, declared_patients=100, profile=SiteProfile())


def pem_of(key: EllipticCurvePrivateKey, password: bytes = b"") -> bytes:
    closed = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, closed)


def test_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    make(tmp_path / "site")
    for name in ("signing.pem", "pseudonym.key", "node.key"):
        assert (tmp_path / "site" / "keys" / name).stat().st_mode & 0o077 == 0


def test_nobody_else_may_look_into_a_sites_folder_even_if_it_was_there_before(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir(mode=0o755)
    for name in ("old", "deep/new"):
        make(tmp_path / name)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o700


def test_a_site_is_never_made_over_another(tmp_path: Path) -> None:
    make(tmp_path / "site")
    before = (tmp_path / "site" / "keys" / "signing.pem").read_bytes()
    with pytest.raises(PolicyError, match="is a site already"):
        make(tmp_path / "site", name="birch")
    assert (tmp_path / "site" / "keys" / "signing.pem").read_bytes() == before


def test_the_join_request_says_nothing_but_name_keys_and_declared_size(tmp_path: Path) -> None:
    request = json.loads(make(tmp_path / "site").read_text())
    named = {"version", "site", "public_key", "node_key", "declared_patients", "signature"}
    assert set(request) == named
    assert "PRIVATE" not in json.dumps(request)


def test_another_size_is_published_under_the_same_keys_and_ends_plans_of_the_former(
    tmp_path: Path,
) -> None:
    home, path = create_home(tmp_path / "home"), tmp_path / "site" / "join-request.json"
    first = json.loads(make(tmp_path / "site").read_text())
    join_federation(tmp_path / "site", enrol(home, path, role="training", is_required=True, now=NOW))
    second = json.loads(declare_size(tmp_path / "site", 120).read_text())
    changed = {name for name in first if first[name] != second[name]}
    assert changed == {"declared_patients", "signature"}
    assert second["declared_patients"] == 120
    enrol(home, path, role="training", is_required=True, now=NOW)
    assert [site.declared_patients for site in home.active_sites()] == [120]
    site = open_site(tmp_path / "site")
    assert (site.settings.declared_patients, site.has_joined) == (120, True), "it need not join again"


def test_joining_trusts_the_coordinator_that_enrolled_the_site(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home")
    answer = enrol(home, make(tmp_path / "site"), role="training", is_required=True, now=NOW)
    assert join_federation(tmp_path / "site", answer).coordinator_key == home.key().public_hex
    assert open_site(tmp_path / "site").coordinator_key == home.key().public_hex


def test_a_site_that_has_not_joined_trusts_nobody(tmp_path: Path) -> None:
    make(tmp_path / "site")
    with pytest.raises(PlanError, match="has not joined"):
        _ = open_site(tmp_path / "site").approvals


def test_a_site_does_not_change_its_coordinator(tmp_path: Path) -> None:
    request = make(tmp_path / "site")
    first, second = create_home(tmp_path / "first"), create_home(tmp_path / "second")
    join_federation(
        tmp_path / "site", enrol(first, request, role="training", is_required=True, now=NOW)
    )
    other = enrol(second, request, role="training", is_required=True, now=NOW)
    with pytest.raises(PlanError, match="another coordinator"):
        join_federation(tmp_path / "site", other)


def test_every_mistake_in_site_yaml_is_named_and_no_value_repeated(tmp_path: Path) -> None:
    make(tmp_path / "site")
    path = tmp_path / "site" / "site.yaml"
    content = yaml.safe_load(path.read_text())
    content |= {"site": "Aster Hospital", "declared_patients": 0, "dxa": "lunar"}
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(IntakeError) as caught:
        open_site(tmp_path / "site")
    for name in ("site:", "declared_patients:", "dxa:"):
        assert name in caught.value.fact
    assert "Aster Hospital" not in caught.value.fact


def test_no_folder_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(OsteoFedError) as caught:
        open_site(tmp_path / "nowhere")
    assert "osteofed-site init" in caught.value.hint


def test_what_a_site_has_lost_comes_from_backup_because_init_refuses_a_site(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "policy.yaml").unlink()
    (tmp_path / "keys" / "pseudonym.key").unlink()
    site = open_site(tmp_path)
    for look in (lambda: site.policy, lambda: site.pseudonyms):
        with pytest.raises(OsteoFedError) as caught:
            look()
        assert "from backup" in caught.value.hint
        assert "init" not in caught.value.hint or "new folder" in caught.value.hint


def test_the_policy_of_a_site_made_elsewhere_mends_a_lost_one(tmp_path: Path) -> None:
    make(tmp_path / "site")
    lost = tmp_path / "site" / "policy.yaml"
    lost.unlink()
    make(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "policy.yaml", lost)
    assert open_site(tmp_path / "site").policy == open_site(tmp_path / "other").policy


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "protocol.unreadable-key"),
        (b"", "protocol.unreadable-key"),
        (b"-----BEGIN PRIVATE KEY-----\nMC4CAQA", "protocol.unreadable-key"),
        (pem_of(generate_private_key(SECP256R1())), "protocol.wrong-key-kind"),
        (pem_of(generate_private_key(SECP256R1()), b"secret"), "protocol.unreadable-key"),
    ],
    ids=["missing", "empty", "cut", "other-kind", "with-password"],
)
def test_a_signing_key_that_cannot_be_used_is_named_with_its_remedy(
    tmp_path: Path, content: bytes | None, code: str
) -> None:
    make(tmp_path)
    path = tmp_path / "keys" / "signing.pem"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ProtocolError) as caught:
        _ = open_site(tmp_path).key
    assert caught.value.code == code
    assert "signing.pem" in caught.value.fact
    assert "from backup" in caught.value.hint


def test_the_signer_of_a_release_is_the_joined_coordinator_or_who_a_person_names(
    tmp_path: Path,
) -> None:
    make(tmp_path / "aster")
    site = open_site(tmp_path / "aster")
    with pytest.raises(PlanError) as caught:
        site.release_key(None)
    assert caught.value.code == "plan.no-coordinator"
    assert site.release_key("a" * 64) == "a" * 64
    home = create_home(tmp_path / "home")
    request = tmp_path / "aster" / "join-request.json"
    answer = enrol(
        home, request, role="external", is_required=True, now=datetime(2026, 1, 5, tzinfo=UTC)
    )
    joined, key = join_federation(tmp_path / "aster", answer), home.key().public_hex
    assert joined.release_key(None) == joined.release_key(key) == key
    with pytest.raises(PlanError) as caught:
        joined.release_key("a" * 64)
    assert caught.value.code == "plan.other-coordinator"
