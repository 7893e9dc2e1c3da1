"""Versions of a cohort: which is the newest, who was ever in one, and who stays known after a purge."""

from __future__ import annotations

import json
import stat

import pytest
from table_site import TableSites

from client.cohort.folder import Cohort, cohort_folder
from client.cohort.versions import (
    PURGED_FILE,
    current_cohort,
    empty_version,
    ever_in_cohort,
    mark_purged,
    patients_of,
    prospective_name,
    purged_versions,
    versions_holding,
)
from client.people.withdrawal import withdraw
from client.site.folder import Site
from client.site.linkage import PatientKey
from shared.errors import IntakeError

NAME, BY, GONE = "breast_cytology", "Grace Hopper", "P00007"


@pytest.fixture
def site(sites: TableSites) -> Site:
    return sites.site()


def key_of(site: Site, patient_id: str) -> PatientKey:
    return site.pseudonyms.patient_key("", patient_id)


def versions(site: Site) -> tuple[Cohort, Cohort]:
    """The version that everybody is in, and the one after somebody withdrew."""
    first = current_cohort(site, NAME)
    withdraw(site, GONE, by=BY)
    return first, current_cohort(site, NAME)


def test_a_cohort_accrued_under_a_lock_is_named_after_it() -> None:
    assert prospective_name("hip", "0123456789abcdef") == "hip-after-0123456789ab"


def test_without_an_intake_there_is_no_cohort(site: Site) -> None:
    with pytest.raises(IntakeError) as caught:
        current_cohort(site, "chest")
    assert caught.value.code == "intake.no-cohort"


def test_the_newest_version_counts_and_who_left_it_was_once_in_it(site: Site) -> None:
    first, second = versions(site)
    gone = key_of(site, GONE)
    assert (first.version, second.version) == (1, 2)
    assert set(first.patients()) - set(second.patients()) == {gone}
    assert ever_in_cohort(site, NAME) == frozenset(first.patients())
    assert [cohort.version for cohort in versions_holding(site, gone)] == [1]
    other = key_of(site, "P00008")
    assert [cohort.version for cohort in versions_holding(site, other)] == [1, 2]


def test_a_purged_version_holds_nobody_and_its_note_says_who_else_may_have_trained(site: Site) -> None:
    first, second = versions(site)
    gone = key_of(site, GONE)
    assert purged_versions(site) == []
    mark_purged(site, first, by=BY)
    assert purged_versions(site) == [first.folder]
    note = first.folder / PURGED_FILE
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert json.loads(note.read_bytes())["by"] == BY
    assert patients_of(first.folder) == frozenset(second.patients())
    assert versions_holding(site, gone) == []
    assert ever_in_cohort(site, NAME) == frozenset(second.patients())


def test_an_emptied_version_keeps_its_note_without_the_person(site: Site) -> None:
    first = current_cohort(site, NAME)
    one, gone = key_of(site, "P00008"), key_of(site, GONE)
    mark_purged(site, first, by=BY)
    assert {one, gone} <= patients_of(first.folder)
    empty_version(first.folder, gone)
    assert patients_of(first.folder) == frozenset(first.patients()) - {gone}
    empty_version(first.folder, gone)
    assert one in patients_of(first.folder)
    left = b"".join(path.read_bytes() for path in first.folder.rglob("*") if path.is_file())
    assert gone.encode() not in left


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"patients": 3}'])
def test_a_damaged_note_of_a_purge_is_refused_and_nobody_becomes_eligible(
    site: Site, damage: str
) -> None:
    first = current_cohort(site, NAME)
    folder = cohort_folder(site.cohorts, NAME, first.version)
    (folder / PURGED_FILE).write_text(damage)
    with pytest.raises(IntakeError) as caught:
        patients_of(folder)
    assert caught.value.code == "intake.unreadable-cohort"
