"""The cohort folder and its arrays: frozen, verified, versioned; with and without films."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from practice_framing import WHOLE

from client.cohort.assemble import assemble
from client.cohort.folder import Cohort, Exam, StoredFilm, cohort_folder, write_cohort
from client.cohort.label import ExamLabel
from client.cohort.quarantine import Quarantined
from client.site.linkage import PatientKey
from shared.contract.model_settings import ClassificationTask, RegressionTask, SurvivalTask
from shared.errors import IntakeError
from shared.exam.pixels import PREPROCESSING_VERSION
from shared.exam.schema import CohortSchema
from shared.signing.canonical import canonical_json, hash_of

FIELDS = [
    {"name": "age", "kind": "number", "low": 0, "high": 120, "reference_mean": 60,
     "reference_sd": 10},
    {"name": "sex", "kind": "category", "categories": ["female", "male"]},
]  # fmt: skip
REGRESSION = RegressionTask(endpoint="low", endpoint_threshold=0.5)
CLASSES = ClassificationTask(endpoint="ill", positive_class="ill")


def schema_of(**changes: object) -> CohortSchema:
    values = {
        "name": "small", "version": 1, "fields": FIELDS, "image_pixels": 32,
        "views": [{"name": "hip", "body_parts": ["HIP"], "positions": ["AP"]}],
        "label": {"kind": "number", "column": "y", "unit": "mm", "low": 0, "high": 9},
    }  # fmt: skip
    return CohortSchema.model_validate(values | changes)


TABLE = schema_of(
    views=[], label={"kind": "class", "column": "y", "classes": ["well", "ill"]}, name="table"
)


def exam(
    patient: str,
    day: int,
    *images: int,
    split: str = "train",
    label: ExamLabel | None = None,
    **values: float | str | None,
) -> Exam:
    films = tuple(
        StoredFilm(
            image=image, film=f"f{image}", view="hip", laterality="L", pixel_mm=(0.1, 0.2),
            framing=WHOLE, manufacturer="ACME", presentation_intent="",
        )
        for image in images
    )  # fmt: skip
    return Exam(
        exam=f"{patient}-{day}", patient=PatientKey(patient), day=day, split=split, films=films,
        values={"age": None, "sex": None} | values, label=label,
    )  # fmt: skip


EXAMS = [
    exam("p1", 10, 0, 1, label=ExamLabel(number=3.0), age=70.0, sex="male"),
    exam("p1", 40, 2, age=71.0),
    exam("p2", 5, 3, split="internal", label=ExamLabel(number=4.5), sex="female"),
    exam("p3", 7, 4),
]
IMAGES = np.random.default_rng(5).random((5, 32, 32)).astype(np.float16)
LOST = [Quarantined("film", "intake.blank-film", "i1")]


def freeze(store: Path, exams=EXAMS, *, schema=None, images=IMAGES, overviews=(), masks=()) -> Cohort:
    return write_cohort(
        store, name="small", schema=schema or schema_of(), exams=exams, images=iter(images),
        overviews=iter(overviews), masks=iter(masks), quarantined=LOST,
    )  # fmt: skip


def test_what_is_frozen_comes_back_whole(tmp_path):
    freeze(tmp_path)
    cohort = Cohort.open(cohort_folder(tmp_path, "small", 1))
    assert list(cohort.exams) == EXAMS
    assert np.array_equal(cohort.images, IMAGES)
    assert isinstance(cohort.images, np.memmap)
    assert cohort.quarantined == tuple(LOST)
    assert cohort.schema == schema_of()
    assert cohort.preprocessing == PREPROCESSING_VERSION
    assert cohort.film_keys() == ("f0", "f1", "f2", "f3", "f4")
    assert cohort.film_makers() == ("ACME",) * 5
    assert (cohort.previous, cohort.shared_patients) == (None, frozenset())


def test_whole_films_lie_beside_the_images_where_somebody_has_them(tmp_path):
    assert freeze(tmp_path).overviews.shape == (0, 1, 1)
    whole = np.random.default_rng(6).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    cohort = freeze(tmp_path, overviews=whole)
    assert np.array_equal(Cohort.open(cohort.folder).overviews, whole)
    with pytest.raises(ValueError, match="zip"):  # one for each film
        freeze(tmp_path, overviews=whole[:4])


def test_patients_and_their_exams_are_found_by_split(tmp_path):
    cohort = freeze(tmp_path)
    assert cohort.patients() == ("p1", "p2", "p3")
    assert cohort.patients("train") == ("p1", "p3")
    assert cohort.patients("tune") == ()
    assert [item.day for item in cohort.exams_of(PatientKey("p1"))] == [10, 40]
    assert cohort.exams_of(PatientKey("nobody")) == ()


def test_new_version_names_the_old_one_and_the_patients_they_share(tmp_path):
    first = freeze(tmp_path)
    second = freeze(tmp_path, [EXAMS[0], exam("p9", 1, 2)], images=IMAGES[:3])
    assert (second.version, second.previous) == (2, first.fingerprint)
    assert second.shared_patients == {"p1"}
    assert list(Cohort.open(first.folder).exams) == EXAMS


def test_nothing_new_makes_no_version(tmp_path):
    first, again = freeze(tmp_path), freeze(tmp_path)
    assert again.folder == first.folder
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == ["v1"]


def test_existing_version_is_never_replaced(tmp_path, monkeypatch):
    first = freeze(tmp_path)
    monkeypatch.setattr("client.cohort.folder.latest_version", lambda store, name: 0)
    with pytest.raises(IntakeError) as refusal:
        freeze(tmp_path, EXAMS[:1], images=IMAGES[:2])
    assert refusal.value.code == "intake.version-exists"
    assert Cohort.open(first.folder).fingerprint == first.fingerprint


def test_files_are_read_only(tmp_path):
    cohort = freeze(tmp_path)
    assert {path.stat().st_mode & 0o777 for path in cohort.folder.iterdir()} == {0o400}


@pytest.mark.parametrize("name", ["exams.jsonl", "images.npy", "quarantine.jsonl", "cohort.json"])
def test_any_changed_byte_is_noticed(tmp_path, name):
    path = freeze(tmp_path).folder / name
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntakeError) as refusal:
        Cohort.open(path.parent)
    assert refusal.value.code in {"intake.changed-cohort", "intake.unreadable-cohort"}


def test_added_and_removed_files_are_noticed(tmp_path):
    folder = freeze(tmp_path).folder
    (folder / "extra").write_text("x")
    with pytest.raises(IntakeError, match="differs from its fingerprint"):
        Cohort.open(folder)
    (folder / "extra").unlink()
    (folder / "quarantine.jsonl").unlink()
    with pytest.raises(IntakeError, match="differs from its fingerprint"):
        Cohort.open(folder)


def test_unknown_format_is_refused_even_with_a_valid_fingerprint(tmp_path):
    path = freeze(tmp_path).folder / "cohort.json"
    path.chmod(0o600)
    head = json.loads(path.read_bytes()) | {"format": 99}
    del head["fingerprint"]
    path.write_bytes(canonical_json({**head, "fingerprint": hash_of(head)}))
    with pytest.raises(IntakeError) as refusal:
        Cohort.open(path.parent)
    assert refusal.value.code == "intake.unknown-cohort-format"


def test_folder_that_is_no_cohort_is_refused(tmp_path):
    with pytest.raises(IntakeError, match="is not a cohort folder"):
        Cohort.open(tmp_path)


def test_arrays_of_a_split_are_standardised_with_public_constants(tmp_path):
    cohort = freeze(tmp_path)
    arrays = assemble(cohort, "train", schema=cohort.schema, task=REGRESSION)
    assert arrays.patients == ("p1",)  # p3 has no label
    assert np.allclose(arrays.fields, [[1.0, 1.0], [1.1, 0.0]])
    assert arrays.field_mask.tolist() == [[True, True], [True, False]]
    assert arrays.target[0] == 3.0
    assert np.isnan(arrays.target[1])
    assert arrays.exam_mask.tolist() == [True, False]
    assert arrays.patient_index.tolist() == [0, 0]
    assert arrays.exam_films == ((0, 1), (2,))


def test_unlabelled_patients_are_kept_on_request(tmp_path):
    cohort = freeze(tmp_path)
    arrays = assemble(cohort, None, schema=cohort.schema, task=REGRESSION, keeps_unlabelled=True)
    assert arrays.patients == ("p1", "p2", "p3")
    assert arrays.patient_index.tolist() == [0, 0, 1, 2]


def test_clinical_only_cohort_of_classes(tmp_path):
    exams = [
        exam("p1", 1, label=ExamLabel(class_name="ill"), age=50.0),
        exam("p2", 1, label=ExamLabel(class_name="well"), age=60.0),
    ]
    cohort = freeze(tmp_path, exams, schema=TABLE, images=IMAGES[:0])
    assert not (cohort.folder / "images.npy").exists()
    assert cohort.images.shape == (0, 32, 32)
    arrays = assemble(cohort, "train", schema=TABLE, task=CLASSES)
    assert arrays.target.tolist() == [1.0, 0.0]
    assert arrays.exam_films == ((), ())
    assert not arrays.field_mask[:, 1].any()


def test_empty_split_gives_empty_arrays(tmp_path):
    cohort = freeze(tmp_path)
    arrays = assemble(cohort, "tune", schema=cohort.schema, task=REGRESSION)
    assert arrays.fields.shape == (0, 2)
    assert arrays.target.shape == arrays.patient_index.shape == (0,)


def test_another_schema_or_an_unsuitable_task_is_refused(tmp_path):
    cohort = freeze(tmp_path)
    with pytest.raises(IntakeError) as refusal:
        assemble(cohort, "train", schema=schema_of(version=2), task=REGRESSION)
    assert refusal.value.code == "intake.other-schema"
    with pytest.raises(IntakeError) as refusal:
        assemble(cohort, "train", schema=cohort.schema, task=CLASSES)
    assert refusal.value.code == "intake.wrong-label"
    with pytest.raises(IntakeError, match="survival needs a label of kind time_to_event") as refusal:
        assemble(cohort, "train", schema=cohort.schema, task=SurvivalTask(endpoint="fracture"))
    assert refusal.value.code == "intake.wrong-label"
