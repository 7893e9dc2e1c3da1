"""Who is lost, and by what: one cause a patient, and a rule is no loss."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from practice_intake import HIP, PSEUDONYMS, counts_of, make_hospital, rewrite, take_in
from pydicom import dcmread

from client.cohort.quarantine import Quarantined
from client.intake.films import WITHDRAWN
from client.intake.losses import Losses, find_losses, mark_costs
from client.site.linkage import Linkage
from shared.errors import IntakeError


def entry(item: str, code: str) -> Quarantined:
    """A film, or a row where the item says so."""
    return Quarantined("row" if item.startswith("row") else "film", f"intake.{code}", item)


def losses(
    codes: dict[str, list[str]], *, kept: int = 0, rejected: dict[str, str] | None = None
) -> Losses:
    """Losses where codes stand by patient; a code with ``row:`` in front is that of a row."""
    unused, patients = [], {}
    for patient, found in codes.items():
        for number, code in enumerate(found):
            kind, _, reason = code.rpartition(":")
            item = f"{kind or 'film'} {patient} {number}"
            unused.append(entry(item, reason))
            if patient:
                patients[item] = patient
    return find_losses([f"kept {n}" for n in range(kept)], unused, patients, rejected or {})


@pytest.mark.parametrize(
    ("codes", "cause"),
    [
        (["row:missing-film"], "missing-film"),
        (["row:missing-film", "wrong-view"], "wrong-view"),
        (["row:missing-film", "secondary-capture", "wrong-view", "wrong-view"], "wrong-view"),
        # a film that should have been usable is the cause before one that was never meant to be
        (["row:missing-film", "wrong-view", "wrong-view", "blank-film"], "blank-film"),
        (["row:missing-film", "missing-row"], "missing-row"),
        (["row:missing-required-field", "wrong-view"], "missing-required-field"),
        (["unknown-patient"], "unknown-patient"),
        # nobody asked for these
        (["wrong-view"], None),
        (["unknown-words"], None),
        (["row:under-age", "under-age"], None),
        (["row:before-lock", "wrong-view"], None),
        (["row:withdrawn", "blank-film"], None),
        # the rule leaves out the film that the row lacks
        (["before-lock", "row:missing-film"], None),
        (["row:before-lock", "row:missing-film"], "missing-film"),
        (["before-lock", "wrong-view", "row:missing-film"], "wrong-view"),
    ],
)
def test_a_patient_is_lost_by_one_cause(codes: list[str], cause: str | None) -> None:
    found = losses({"P": codes}, kept=3)
    assert found.by_code == ({f"intake.{cause}": 1} if cause else {})
    assert found.fraction == (0.25 if cause else 0.0)


def test_who_has_an_exam_is_not_lost_whatever_else_they_have() -> None:
    unused = [entry("f", "blank-film"), entry("row", "missing-film")]
    found = find_losses(["P"], unused, {"f": "P", "row": "P"}, {"P": "intake.not-a-number"})
    assert (found.by_code, found.fraction) == ({}, 0.0)


def test_a_patient_with_many_lost_films_is_one_patient() -> None:
    found = losses({"P": ["blank-film"] * 50, "Q": ["blank-film", "row:missing-film"]}, kept=8)
    assert found.by_code == {"intake.blank-film": 2}
    assert found.fraction == 0.2


def test_a_row_that_cannot_be_read_loses_its_patient_and_one_without_a_patient_counts_as_one() -> None:
    found = losses(
        {"": ["row:malformed-row", "row:malformed-row", "row:missing-patient"]},
        kept=4,
        rejected={"P": "intake.not-a-number", "": "intake.missing-patient"},
    )
    assert found.by_code == {
        "intake.malformed-row": 2, "intake.not-a-number": 1, "intake.missing-patient": 1,
    }  # fmt: skip
    assert found.fraction == 0.5


def test_films_that_name_no_patient_are_told_beside_and_lose_nobody() -> None:
    found = losses({"": ["unreadable-dicom", "unreadable-dicom", "not-dicom"]}, kept=1)
    assert found.by_code == {}
    assert found.nameless_films == {"intake.unreadable-dicom": 2}


def test_nothing_read_is_nothing_lost() -> None:
    assert losses({}).fraction == 0.0


def test_the_film_that_is_the_cause_says_so_and_no_other() -> None:
    unused = [
        entry("a", "wrong-view"), entry("b", "secondary-capture"), entry("c", "wrong-view"),
        entry("d", "wrong-view"), entry("e", "wrong-view"), entry("row 1", "missing-film"),
    ]  # fmt: skip
    patients = {"a": "P", "b": "P", "c": "P", "d": "Q", "row 1": "P"}
    marked = mark_costs(unused, patients, find_losses(["Q"], unused, patients, {}))
    assert [each.item for each in marked if each.costs_patient] == ["a", "c"]
    assert [each.is_loss for each in marked] == [True, False, True, False, False, True]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    make_hospital(folder, 12)
    return folder


def films_by_patient(source: Path) -> list[list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted((source / "films").iterdir()):
        found.setdefault(path.name.split("_")[0], []).append(path)
    return list(found.values())


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        ({"BodyPartExamined": "KNEE"}, "wrong-view"),
        (
            dict.fromkeys(("AnatomicRegionSequence", "StudyDescription", "SeriesDescription"))
            | {"BodyPartExamined": "GELENK 4"},
            "unknown-words",
        ),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "secondary-capture"),
        ({"BurnedInAnnotation": "YES"}, "burned-in-annotation"),
        ({"AcquisitionDate": "", "ContentDate": "", "StudyDate": "", "SeriesDate": ""}, "missing-date"),
    ],
)
def test_a_film_that_costs_a_patient_is_a_loss_under_its_own_cause(
    archive: Path, tmp_path: Path, spoil: dict[str, str | None], cause: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(archive, source)
    patients = films_by_patient(source)
    for path in [path for films in patients[:5] for path in films]:
        rewrite(path, **spoil)
    with pytest.raises(IntakeError) as caught:
        take_in(source, tmp_path / "strict", HIP)
    assert caught.value.code == "intake.too-much-lost"
    assert caught.value.fact.startswith("41.7% of patients are lost, at most 25.0%")
    assert caught.value.fact.endswith(f"most by intake.{cause} (5)")
    report = take_in(source, tmp_path / "lossy")
    assert report.losses.by_code == {f"intake.{cause}": 5}
    assert report.summary()["lost_patients"] == {f"intake.{cause}": 5}
    assert report.lost_fraction == 5 / 12
    costly = [entry for entry in report.cohort.quarantined if entry.costs_patient]
    assert {entry.code for entry in costly} == {f"intake.{cause}"}
    assert len(costly) == sum(len(films) for films in patients[:5])


def test_a_film_of_another_view_beside_one_that_is_used_costs_nobody(
    archive: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(archive, source)
    for films in films_by_patient(source):
        copy = films[0].with_name(f"copy_{films[0].name}")
        shutil.copy(films[0], copy)
        rewrite(copy, ViewPosition="LATERAL", SOPInstanceUID=f"2.25.{len(copy.name)}")
    report = take_in(source, tmp_path / "site", HIP)
    assert counts_of(report)["film", "intake.wrong-view"] == 12
    assert (report.losses.by_code, report.lost_fraction) == ({}, 0.0)
    assert not any(entry.costs_patient for entry in report.cohort.quarantined)


def test_who_withdrew_is_not_lost_even_by_a_film_that_cannot_be_read(
    archive: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(archive, source)
    linkage = Linkage(tmp_path / "linkage" / "linkage.bin", PSEUDONYMS)
    [first, *_] = films_by_patient(source)
    person = PSEUDONYMS.patient_key("", str(dcmread(first[0]).PatientID))
    take_in(source, tmp_path, linkage=linkage)
    linkage.withdraw(person, by="Ada Lovelace", now=datetime(2024, 1, 1, tzinfo=UTC))
    for path in first:
        rewrite(path, BurnedInAnnotation="YES")
    report = take_in(source, tmp_path, linkage=linkage)
    assert report.losses.by_code == {}
    assert counts_of(report)["film", WITHDRAWN] == len(first)
    assert ("film", "intake.burned-in-annotation") not in counts_of(report)
