"""Nothing that the basic profile removes is in a site's store: DICOM PS3.15 Table E.1-1, row by row.

The table is the one that dicom-anonymizer 2.1 carries (release 2026c of the standard). Each of its
attributes is planted into the films of a hospital with a value that occurs nowhere else; they are taken
in, and every byte of the store is searched.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as profile_table
from practice_intake import ingest_with
from pydicom import DataElement, Dataset, config, dcmread
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.tag import BaseTag, Tag

from client.intake.dicom import ALLOWED
from client.intake.ingest import IntakeReport
from client.site.folder import Site, create_site, open_site
from client.site.profile import SiteProfile
from server.synthetic.folder import write_hospital
from server.synthetic.hospitals import BIRCH, Defects
from shared.exam.schema import CohortSchema

HIP = Path(__file__).parents[3] / "configs" / "cohort" / "hip_bmd.yaml"
PROFILE = SiteProfile(dxa_vendor="lunar", dxa_skeletal_site="femoral_neck", separator=";", decimal=",")
# What an intake reads although the profile removes it; none of it is stored as it is.
READ_AND_TURNED = {
    "SOPInstanceUID": "keyed name of the film",
    "PatientID": "keyed pseudonym, sealed in the linkage file",
    "IssuerOfPatientID": "part of the pseudonym, sealed in the linkage file",
    "AcquisitionDate": "shifted day",
    "ContentDate": "shifted day",
    "StudyDate": "shifted day",
    "SeriesDate": "shifted day",
    "AcquisitionDateTime": "shifted day",
}
# Searched for words of a body part or a position; these alone are kept, or a text of ten patients.
SEARCHED = {"SeriesDescription", "ProtocolName", "StudyDescription"}
# Repeating groups of the table (50xx curves, 60xx overlays), as one member each.
REPEATED = {Tag(0x5002, 0x2500): "LO", Tag(0x6000, 0x3000): "OW", Tag(0x6002, 0x4000): "LT"}
# Network commands are in no file; the file meta has the instance's UID, which is searched for too.
_OF_NO_DATASET = (0x0000, 0x0002)
BINARY = "64977"


def profile_tags() -> dict[BaseTag, str]:
    """Every attribute of the table and its value representation; LO where pydicom knows none."""
    tags = dict(REPEATED)
    for entry in profile_table.ALL_TAGS:
        if len(entry) == 2 and entry[0] not in _OF_NO_DATASET:
            tag = Tag(*entry)
            try:
                tags[tag] = dictionary_VR(tag)
            except KeyError:
                tags[tag] = "LO"
    return tags


def canary(tag: BaseTag, vr: str) -> str:
    """A value of this representation that stands for one attribute and nothing else."""
    number = int(tag)
    match vr:
        case "DA":
            return f"16{number % 97 + 2:02d}{number % 12 + 1:02d}{number % 28 + 1:02d}"
        case "DT":
            return f"1599{number % 12 + 1:02d}{number % 28 + 1:02d}000000.{number % 999983:06d}"
        case "TM":
            return f"{number % 24:02d}{number % 60:02d}{number % 59:02d}.{number % 999979:06d}"
        case "UI":
            return f"2.25.7771{number}"
        case "DS" | "IS":
            return f"7{number % 10**8:08d}"
        case "AS":
            return f"{number % 899 + 100}D"
        case "CS" | "SH" | "AE":
            return f"CY{number:08X}"
        case _:
            return f"CNRY{number:08X}NAME"


def element(tag: BaseTag, vr: str) -> tuple[DataElement, str]:
    """The planted attribute, and the text to search for."""
    value = canary(tag, "LO" if vr in ("SQ", "OB", "OW", "UN") else vr)
    if vr == "SQ":
        item = Dataset()
        item.add_new(0x00081080, "LO", value)
        return DataElement(tag, vr, [item]), value
    if vr in ("OB", "OW", "UN"):
        return DataElement(tag, vr, value.encode()), value
    if vr == "US":
        return DataElement(tag, vr, int(BINARY)), BINARY
    return DataElement(tag, vr, value), value


@dataclass(frozen=True)
class Planted:
    """A site that took planted films in: what was planted, and what its store holds."""

    site: Site
    report: IntakeReport
    words: dict[BaseTag, str]
    dates: set[str]
    numbers: set[str]
    films: bytes
    store: bytes


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    folder = tmp_path_factory.mktemp("profile")
    truth = write_hospital(folder / "in", replace(BIRCH, n_patients=6, defects=Defects()), seed=9)
    words: dict[BaseTag, str] = {}
    dates: set[str] = set()
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        for path in sorted((folder / "in" / "films").glob("*.dcm")):
            dataset = dcmread(path)
            dates |= {
                str(dataset.get(name)) for name in ("StudyDate", "AcquisitionDate", "ContentDate")
            }
            for tag, vr in profile_tags().items():
                if keyword_for_tag(tag) not in READ_AND_TURNED:
                    added, words[tag] = element(tag, vr)
                    dataset[tag] = added
            dataset.save_as(path)
    create_site(folder / "site", name="birch", declared_patients=8, profile=PROFILE)
    site = open_site(folder / "site")
    report = ingest_with(
        folder / "in",
        store=site.cohorts,
        schema=CohortSchema.model_validate(yaml.safe_load(HIP.read_text())),
        profile=PROFILE,
        pseudonyms=site.pseudonyms,
        linkage=site.linkage,
        clock=lambda: datetime(2024, 6, 30, tzinfo=UTC),
    )
    numbers = {patient.patient_id for patient in truth.patients}
    numbers |= {patient.name for patient in truth.patients}
    films = b"".join(path.read_bytes() for path in (folder / "in" / "films").iterdir())
    return Planted(site, report, words, dates - {"None"}, numbers, films, b"\n".join(stored(site)))


def stored(site: Site) -> Iterator[bytes]:
    """Names and bytes of everything that an intake has written, the sealed file included."""
    for path in sorted(site.folder.rglob("*")):
        if "keys" not in path.parts:
            yield str(path.relative_to(site.folder)).encode()
            if path.is_file() and path.name not in ("site.yaml", "policy.yaml", "join-request.json"):
                yield path.read_bytes()


def test_the_whole_table_was_planted_and_the_films_were_used(planted: Planted) -> None:
    assert len(planted.words) > 640
    assert len(profile_table.ALL_TAGS) == 655
    assert len(set(planted.words.values())) > 630
    assert planted.report.n_films_used == planted.report.n_films_read > 6
    missing = [
        keyword_for_tag(tag)
        for tag, word in planted.words.items()
        if word != BINARY and word.encode() not in planted.films
    ]
    assert missing == []


def test_nothing_that_the_profile_removes_is_in_the_store(planted: Planted) -> None:
    found = {
        f"{tag} {keyword_for_tag(tag)}": word
        for tag, word in planted.words.items()
        if word.encode() in planted.store
    }
    # two bytes stand in any picture by chance; those attributes are looked for by name
    assert {name for name, word in found.items() if word != BINARY} == set()
    # where words of a film were looked for is kept by name, not what stood there; names of few letters
    # stand in sealed bytes by chance
    names = {keyword_for_tag(tag) for tag in planted.words} - SEARCHED
    assert not {name for name in names if len(name) > 4 and name.encode() in planted.store}


def test_dates_numbers_and_names_that_an_intake_reads_are_not_stored_either(planted: Planted) -> None:
    assert len(planted.dates) > 5
    assert len(planted.numbers) == 12
    written = {f"{date[:4]}-{date[4:6]}-{date[6:8]}" for date in planted.dates}
    for word in planted.dates | written | planted.numbers:
        assert word.encode() not in planted.store, word
    ordinals = {datetime.strptime(date, "%Y%m%d").toordinal() for date in planted.dates}
    assert not ordinals & {exam.day for exam in planted.report.cohort.exams}


def test_no_uid_of_the_films_is_stored(planted: Planted) -> None:
    uids = set(re.findall(rb"2\.25\.\d+", planted.films))
    assert len(uids) > 60
    assert not re.search(rb"2\.25\.\d", planted.store)


def test_the_search_finds_what_is_stored(planted: Planted) -> None:
    assert b"BOREALIS" in planted.store
    assert b"FOR PRESENTATION" in planted.store


def test_the_extractor_reads_of_the_profiles_attributes_only_those_it_turns_into_something_else() -> (
    None
):
    table = {Tag(*entry) for entry in profile_table.ALL_TAGS if len(entry) == 2}
    read = {name for name in ALLOWED if Tag(name) in table}
    assert read == set(READ_AND_TURNED) | SEARCHED
