"""Pseudonyms, shifted days and the sealed file."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.site.linkage import (
    Identity,
    Linkage,
    Pseudonyms,
    create_pseudonym_key,
    load_pseudonym_key,
)
from shared.errors import IntakeError

OURS, THEIRS = Pseudonyms(b"a" * 32), Pseudonyms(b"b" * 32)
DATES = st.dates(date(1950, 1, 1), date(2090, 1, 1))


def test_pseudonym_depends_on_key_issuer_and_number():
    names = {
        OURS.patient_key("A", "1"), OURS.patient_key("B", "1"), OURS.patient_key("A", "2"),
        THEIRS.patient_key("A", "1"), OURS.patient_key("A1", ""), OURS.patient_key("", "A1"),
    }  # fmt: skip
    assert len(names) == 6
    assert OURS.patient_key("A", "1") == Pseudonyms(b"a" * 32).patient_key("A", "1")
    assert all(len(name) == 32 and int(name, 16) >= 0 for name in names)


@given(DATES, DATES)
def test_shifted_days_keep_distances_and_lead_back_with_the_key(first, second):
    patient = OURS.patient_key("", "7")
    days = OURS.day_of(patient, first), OURS.day_of(patient, second)
    assert days[1] - days[0] == (second - first).days
    assert OURS.date_of(patient, days[0]) == first


def test_who_withdrew_is_not_named_again_and_who_did_not_is(tmp_path):
    linkage = Linkage(tmp_path / "linkage.bin", OURS)
    gone, here = (OURS.patient_key("", number) for number in ("1", "2"))
    identities = {gone: Identity("", "1"), here: Identity("", "2")}
    linkage.add(identities, {})
    linkage.withdraw(gone, by="Grace Hopper", now=datetime(2024, 6, 30, tzinfo=UTC))
    linkage.add(identities, {})
    for found in (linkage, Linkage(tmp_path / "linkage.bin", OURS)):
        assert found.identity_of(gone) is None
        assert found.identity_of(here) == Identity("", "2")


def test_shift_differs_between_patients_and_keys():
    patients = [OURS.patient_key("", str(number)) for number in range(200)]
    days = {OURS.day_of(patient, date(2020, 1, 1)) for patient in patients}
    assert len(days) > 190
    assert max(days) - min(days) > 30_000
    assert OURS.day_of(patients[0], date(2020, 1, 1)) != THEIRS.day_of(patients[0], date(2020, 1, 1))


def test_key_is_private_and_made_once(tmp_path):
    path = tmp_path / "keys" / "pseudonym.key"
    made = create_pseudonym_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_pseudonym_key(path).patient_key("", "1") == made.patient_key("", "1")
    with pytest.raises(IntakeError, match="exists already"):
        create_pseudonym_key(path)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda path: path.chmod(0o640), "intake.open-pseudonym-key"),
        (lambda path: path.unlink(), "intake.no-pseudonym-key"),
        (lambda path: path.write_bytes(b"short"), "intake.wrong-pseudonym-key"),
    ],
)
def test_key_that_others_can_read_or_that_is_damaged_is_refused(tmp_path, spoil, code):
    path = tmp_path / "pseudonym.key"
    create_pseudonym_key(path)
    spoil(path)
    with pytest.raises(IntakeError) as refusal:
        load_pseudonym_key(path)
    assert refusal.value.code == code
    assert "init" not in refusal.value.hint  # which makes no key where there is a site


def written(path: Path) -> tuple[str, str]:
    patient, item = OURS.patient_key("H", "CANARY"), OURS.item_key("film", "CANARY.dcm")
    Linkage(path, OURS).add({patient: Identity("H", "CANARY")}, {item: "films/CANARY.dcm"})
    return patient, item


def test_linkage_leads_back_to_people_and_places(tmp_path):
    path = tmp_path / "linkage" / "linkage.bin"
    patient, item = written(path)
    linkage = Linkage(path, OURS)
    assert linkage.identity_of(patient) == Identity("H", "CANARY")
    assert linkage.place_of(item) == "films/CANARY.dcm"
    assert linkage.identity_of("0" * 32) is None
    linkage.add({}, {"other": "films/b.dcm"})
    assert Linkage(path, OURS).identity_of(patient) == Identity("H", "CANARY")


def test_linkage_file_is_sealed_and_private(tmp_path):
    path = tmp_path / "linkage.bin"
    written(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"CANARY" not in path.read_bytes()
    assert "CANARY" not in repr(Identity("H", "CANARY"))


@pytest.mark.parametrize("place", [0, 20, -1])
def test_changed_linkage_file_is_refused(tmp_path, place):
    path = tmp_path / "linkage.bin"
    written(path)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntakeError, match="ValueError"):
        Linkage(path, OURS)


def test_another_key_does_not_open_it(tmp_path):
    path = tmp_path / "linkage.bin"
    written(path)
    with pytest.raises(IntakeError, match="ValueError"):
        Linkage(path, THEIRS)
