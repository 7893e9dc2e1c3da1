"""A file measured offline: taken in by its confirmed key, refused in every forgery."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from late_hospital import BY, Hospital
from practice_offline import finish, key_of, measure, store_of, stranger
from table_site import TableSites, found_table_sites

from client.site.folder import open_site
from server.report.collect import collect_results
from server.report.page import render_page
from server.rounds.external import take_in
from server.run.external import read_externals
from shared.errors import OsteoFedError
from shared.signing.canonical import canonical_json
from shared.signing.keys import load_key


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> TableSites:
    made = found_table_sites(tmp_path_factory.mktemp("made"))
    finish(made)
    return made


@pytest.fixture(scope="module")
def kay(sites: TableSites) -> Hospital:
    return stranger(sites.folder / "elsewhere")


@pytest.fixture(scope="module")
def written(kay: Hospital, sites: TableSites) -> Path:
    out = sites.folder / "external.json"
    assert measure(kay, sites, out, "--epsilon", "2")["file"] == str(out)
    return out


@pytest.fixture
def key(kay: Hospital) -> str:
    return open_site(kay.folder).key.public_hex


def code_of(sites: TableSites, path: Path, *fingerprints: str) -> str:
    with pytest.raises(OsteoFedError) as caught:
        take_in(store_of(sites), path, fingerprints=fingerprints)
    return caught.value.code


def louder(content: dict[str, Any]) -> None:
    raw = base64.b64decode(content["reply"]["total"]["data"])
    changed = (np.frombuffer(raw) + 1).tobytes()
    content["reply"]["total"]["data"] = base64.b64encode(changed).decode()


def cheaper(content: dict[str, Any]) -> None:
    content["epsilon"] = 1.0


def larger(content: dict[str, Any]) -> None:
    content["plan"]["roster"][0]["declared_patients"] = 5000


def renamed(content: dict[str, Any]) -> None:
    content["plan"]["roster"][0]["site"] = content["reply"]["site"] = "mia"


def trained(content: dict[str, Any]) -> None:
    content["plan"]["roster"][0]["site"] = content["reply"]["site"] = "elm"


def enrolled(content: dict[str, Any]) -> None:
    content["plan"]["roster"][0]["site"] = content["reply"]["site"] = "hop"


def rebinned(content: dict[str, Any]) -> None:
    content["plan"]["stages"][0]["score_high"] = 2.0


def other_code(content: dict[str, Any]) -> None:
    content["plan"]["code_sha256"] = "9" * 64


def other_release(content: dict[str, Any]) -> None:
    content["plan"]["release"]["release_sha256"] = "9" * 64


def other_format(content: dict[str, Any]) -> None:
    content["version"] = 2


def no_reply(content: dict[str, Any]) -> None:
    content["reply"]["message"] = "Hello"


FORGERIES: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (louder, "protocol.bad-signature"),
    (cheaper, "protocol.wrong-plan"),
    (larger, "protocol.wrong-plan"),
    (renamed, "protocol.wrong-plan"),
    (trained, "protocol.wrong-site"),
    (enrolled, "protocol.wrong-site"),
    (rebinned, "protocol.wrong-plan"),
    (other_code, "plan.other-code"),
    (other_release, "weights.other-release"),
    (other_format, "protocol.unknown-version"),
    (no_reply, "protocol.unreadable-payload"),
]


@pytest.mark.parametrize(("forge", "code"), FORGERIES)
def test_a_file_that_was_changed_is_refused(
    sites: TableSites,
    written: Path,
    key: str,
    tmp_path: Path,
    forge: Callable[[dict[str, Any]], None],
    code: str,
) -> None:
    content = json.loads(written.read_bytes())
    forge(content)
    path = tmp_path / "forged.json"
    path.write_text(json.dumps(content))
    assert code_of(sites, path, key) == code
    assert read_externals(store_of(sites)) == ()


def test_a_key_that_nobody_confirmed_or_that_did_not_sign_is_refused(
    sites: TableSites, written: Path, key: str, tmp_path: Path
) -> None:
    assert code_of(sites, written) == "protocol.unconfirmed-key"
    assert code_of(sites, written, "0" * 64) == "protocol.unconfirmed-key"
    # Somebody else's key, confirmed, put where the hospital's stood.
    mallory = load_key(sites.folder / "coordinator" / "keys" / "coordinator.pem")
    path = tmp_path / "forged.json"
    path.write_text(written.read_text().replace(key, mallory.public_hex))
    assert code_of(sites, path, mallory.public_hex) == "protocol.wrong-plan"
    for data in (b"", b"[]", b"{}", canonical_json({"version": 1})):
        path.write_bytes(data)
        assert code_of(sites, path, key) == "protocol.unreadable-external"
    assert code_of(sites, tmp_path / "nowhere", key) == "protocol.unreadable-external"


def test_a_confirmed_file_is_a_hospital_of_the_report_that_was_measured_offline(
    tmp_path: Path,
) -> None:
    made = found_table_sites(tmp_path / "made")
    finish(made)
    kay, out = stranger(tmp_path), tmp_path / "external.json"
    measure(kay, made, out, "--epsilon", "2")
    key, store = open_site(kay.folder).key.public_hex, store_of(made)
    for _ in range(2):  # again is no error, and changes nothing
        take_in(store, out, fingerprints=[key.upper()])
    assert [(event.site, event.code) for event in store.events()] == [("kay", "external-taken-in")]
    results = collect_results(store)
    [row] = [row for row in results.validation if row.site == "kay"]
    assert (row.kind, row.status, row.is_offline) == ("external", "measured", True)
    assert 1.9 < float(row.epsilon or 0) <= 2.0
    assert row.measures is not None
    [site] = [site for site in results.sites if site.site == "kay"]
    assert (site.role, site.is_offline, site.declared_patients) == ("external", True, 120)
    [promised] = [each for each in results.privacy if each.site == "kay"]
    assert promised.training_epsilon == 0.0
    assert promised.run_epsilon == pytest.approx(row.epsilon)
    assert "measured offline" in render_page(results)
    later = tmp_path / "later.json"
    measure(kay, made, later, "--epsilon", "1")
    assert code_of(made, later, key) == "run.external-exists"


def test_a_comparison_with_local_training_is_a_row_of_the_report_and_a_forged_one_is_none(
    tmp_path: Path,
) -> None:
    made = found_table_sites(tmp_path / "made")
    finish(made)
    kay, out = stranger(tmp_path), tmp_path / "local.json"
    release, coordinator = str(store_of(made).release_folder), key_of(made).public_hex
    said = ("--by", BY, "--out", str(out), "--coordinator", coordinator, "--yes")
    told = kay.told("personalise", release, *said, "--epsilon", "2")
    key, store = open_site(kay.folder).key.public_hex, store_of(made)
    for forge, code in FORGERIES:
        if forge in (rebinned, trained, enrolled):
            continue
        content = json.loads(out.read_bytes())
        forge(content)
        (tmp_path / "forged.json").write_text(json.dumps(content))
        assert code_of(made, tmp_path / "forged.json", key) == code
    content = json.loads(out.read_bytes())
    content["plan"]["stages"][0]["learning_rate"] *= 2
    (tmp_path / "forged.json").write_text(json.dumps(content))
    assert code_of(made, tmp_path / "forged.json", key) == "protocol.wrong-plan"
    take_in(store, out, fingerprints=[key])
    assert read_externals(store) == ()
    results = collect_results(store)
    [row] = [row for row in results.further if row.site == "kay"]
    assert row.stage == "local_internal"
    assert str(told["verdict"]) in row.remark
    assert "epsilon 1.9" in row.remark or "epsilon 2.0" in row.remark
    assert row.figures is not None
    assert "error rises by, without local training" in row.figures
    page = render_page(results)
    assert row.remark.split("(")[0] in page
    assert "kay" not in {site.site for site in results.sites}
    later = tmp_path / "later.json"
    measure(kay, made, later, "--epsilon", "1")
    take_in(store, later, fingerprints=[key])  # its table of the release is another file
    assert [file.entry.site for file in read_externals(store)] == ["kay"]
