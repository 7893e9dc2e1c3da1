"""Reading one exam at the site: values are checked together, nothing is charged."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from practice_intake import PSEUDONYMS, take_in
from practice_plan import table_of
from pydicom import dcmread
from table_site import TableSites

import client.reading.predict as predicting
from client.cohort.quarantine import CODES
from client.intake.workers import ReadingRule, read_films, read_one
from client.reading import asking
from client.reading.maps import ExamMaps
from client.reading.predict import (
    Prediction,
    _describe,
    draw_heat_maps,
    predict,
    read_values,
)
from client.site.profile import FilmWords, SiteProfile
from server.federation.compose import compose_settings
from server.synthetic.folder import write_hospital
from server.synthetic.hospitals import ASTER, BIRCH, DUNE, Defects, SyntheticSite, intake_profile
from shared.contract.decision import decision_of
from shared.contract.release import Release, ReleaseRecord
from shared.errors import IntakeError, WeightsError
from shared.exam.pixels import PREPROCESSING_VERSION
from shared.exam.schema import read_schema
from shared.measure.table.rows import contributions
from shared.model.build import build_model
from shared.model.weights import load_flat

HIP = read_schema(Path(__file__).resolve().parents[3] / "configs" / "cohort" / "hip_bmd.yaml")
VALUES = {
    **{"radius": "18.2", "texture": "21", "perimeter": "121", "area": "1010", "smoothness": "0.1"},
    **{"compactness": "0.13", "concavity": "0.16", "concave_points": "0.09", "symmetry": "0.18"},
    "fractal_dimension": "0.06",
}


def test_a_table_only_release_gives_the_models_own_probability(sites: TableSites) -> None:
    plan = sites.plan
    record = ReleaseRecord.model_construct(plan_sha256=plan.sha256, decision=decision_of(plan.settings))
    release = Release(record=record, plan=plan, weights=sites.weights)
    reading = predict(release, [], VALUES)
    fields = plan.settings.cohort.fields
    row = torch.tensor(
        [[(float(VALUES[f.name]) - f.reference_mean) / f.reference_sd for f in fields]]
    ).float()
    model = build_model(plan.settings, generator_seed=0)
    load_flat(model, sites.weights)
    model.eval()
    nothing = torch.zeros(1, 0, 0, 0), torch.zeros(1, 0, dtype=torch.int64)
    with torch.no_grad():
        logits = model(*nothing, row[:, None], torch.ones_like(row, dtype=torch.bool)[:, None])[:, 0]
    assert reading.value == pytest.approx(torch.softmax(logits, 1)[0, 1].item(), abs=1e-6)
    assert reading.class_name == ("malignant" if reading.value >= 0.5 else "benign")
    assert (reading.unit, reading.t_score, reading.maps.heats) == ("probability", None, ())
    assert reading.probability_of == "malignant"
    assert reading.facts()["probability of malignant"] == f"{reading.value:.3f}"
    assert "value" not in reading.facts()
    assert sites.charges() == 0
    assert sites.gate().outbox.show() == ()


def test_every_unusable_value_is_named_at_once_and_none_is_repeated() -> None:
    with pytest.raises(IntakeError) as caught:
        read_values({"age": "471.5", "shoe": "4711", "sex": "perhaps"}, HIP)
    fact = caught.value.fact
    assert caught.value.code == "intake.unusable-values"
    for name in ("age", "shoe", "sex"):
        assert f"  {name}: must be" in fact
    for value in ("471", "perhaps"):
        assert value not in fact


REQUIRED = {"age": "70", "sex": "f"}


@pytest.mark.parametrize(
    ("name", "low", "high"), [("age", "18", "90"), ("height", "120", "215"), ("activity", "0", "60")]
)
def test_a_value_is_read_from_the_lowest_to_the_highest_of_its_range(
    name: str, low: str, high: str
) -> None:
    for text in (low, high):
        assert read_values(REQUIRED | {name: text}, HIP)[name] == float(text)
    for text in (str(float(low) - 0.1), str(float(high) + 0.1), "nan", "-inf"):
        with pytest.raises(IntakeError, match=f"  {name}: must be {low}"):
            read_values(REQUIRED | {name: text}, HIP)


def test_words_become_categories_and_what_may_be_missing_is_left_out() -> None:
    assert read_values(REQUIRED | {"smoking": "EX"}, HIP) == {
        "age": 70.0,
        "sex": "female",
        "smoking": "former",
    }
    with pytest.raises(IntakeError, match="sex: is required"):
        read_values({"age": "70"}, HIP)


@pytest.fixture(scope="module")
def few_films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Synthetic films as files, of both sides, one of which its header does not tell."""
    folder = tmp_path_factory.mktemp("films")
    write_hospital(folder, replace(ASTER, n_patients=6, defects=Defects()), 3)
    films = sorted((folder / "films").iterdir())
    unsided = dcmread(films[0])
    for name in ("ImageLaterality", "Laterality"):
        if name in unsided:
            delattr(unsided, name)
    unsided.save_as(films[0])
    return films


@pytest.mark.parametrize("default", [None, "R"])
def test_a_film_gives_one_image_for_an_intake_and_for_a_reading(
    few_films: list[Path], default: str | None
) -> None:
    profile = SiteProfile(default_laterality=default)
    rule = ReadingRule.of(HIP, profile)
    taken = [rule.image_of(read.image) for read in read_films(few_films[1:], rule, workers=2)]
    read = predicting._read(few_films[1:], rule)
    assert all(np.array_equal(one, other.image) for one, other in zip(taken, read, strict=True))
    # in this process, with whatever threads it has
    alone = [rule.image_of(read_one(path, rule).image) for path in few_films[1:]]
    assert all(np.array_equal(one, other) for one, other in zip(taken, alone, strict=True))


@pytest.mark.parametrize("ward", [BIRCH, DUNE], ids=lambda ward: ward.name)
def test_every_worn_film_of_a_cohort_is_read_as_it_was_taken_in(
    tmp_path: Path, ward: SyntheticSite
) -> None:
    write_hospital(tmp_path / "in", replace(ward, n_patients=16, defects=Defects()), 11)
    profile = SiteProfile.model_validate(intake_profile(ward))
    cohort = take_in(tmp_path / "in", tmp_path / "home", profile=profile, workers=2).cohort
    rows = {key: row for row, key in enumerate(cohort.film_keys())}
    by_key = {PSEUDONYMS.film_key(dcmread(path).SOPInstanceUID): path for path in films_in(tmp_path)}
    taken = [by_key[key] for key in rows]
    for read, image in zip(
        predicting._read(taken, ReadingRule.of(cohort.schema, profile)), cohort.images, strict=True
    ):
        assert np.array_equal(read.image, image)
    # among them are films that tags turn or invert, and films with a border
    framings = [film.framing for exam in cohort.exams for film in exam.films]
    assert {change for framing in framings for change in framing.changes} >= CHANGES[ward.name]
    assert any(framing.exposed < 1 for framing in framings)


CHANGES = {"birch": {"inverted"}, "dune": {"turned", "inverted"}}


def films_in(folder: Path) -> list[Path]:
    return sorted((folder / "in" / "films").iterdir())


def test_the_sites_rule_for_unnamed_sides_holds_for_a_reading_too(few_films: list[Path]) -> None:
    rules = [ReadingRule.of(HIP, SiteProfile(default_laterality=side)) for side in ("L", "R")]
    left, right = (read_one(few_films[0], rule) for rule in rules)
    assert left.image != right.image


def test_a_film_that_an_intake_would_put_aside_is_not_read(
    few_films: list[Path], tmp_path: Path
) -> None:
    turned = dcmread(few_films[1])
    turned.decompress()
    turned.PixelData = turned.pixel_array[::-1, ::-1].tobytes()
    turned.save_as(tmp_path / "turned.dcm")
    with pytest.raises(IntakeError) as refusal:
        predicting._read([tmp_path / "turned.dcm"], ReadingRule.of(HIP, SiteProfile()))
    assert refusal.value.code == "intake.anatomy-not-found"
    assert refusal.value.hint == CODES["intake.anatomy-not-found"].remedy


def regression(value: float) -> Prediction:
    """What a release of the hip says of a BMD."""
    return _describe(hip_release(), torch.tensor([[value]], dtype=torch.float64), [])


@cache
def hip_release() -> Release:
    settings = compose_settings()
    record = SimpleNamespace(decision=decision_of(settings))
    return SimpleNamespace(plan=SimpleNamespace(settings=settings), record=record)


@pytest.mark.parametrize(("bmd", "t_score"), [(0.87, 0.1), (0.738, -1.0), (0.558, -2.5)])
def test_a_bmd_is_read_as_a_t_score(bmd: float, t_score: float) -> None:
    reading = regression(bmd)
    assert reading.t_score == pytest.approx(t_score, abs=1e-5)
    assert reading.unit == "g/cm2"
    assert regression(bmd).facts()["value"] == f"{bmd:.3f} g/cm2"
    assert regression(bmd).facts()["T-score"] == f"{t_score:+.2f}"


def test_the_class_that_is_read_is_the_class_that_is_validated() -> None:
    settings = compose_settings()
    spec = table_of(settings)
    for bmd in np.linspace(0.3, 1.1, 161):
        row = contributions(spec, outputs=np.array([[bmd]]), label=np.array([0.4]))[0]
        is_called = bool(row[: spec.cut_bins[0]].any())
        assert (regression(float(bmd)).class_name == "osteoporosis") == is_called, bmd
    at_cut = regression(settings.task.operating_point)
    assert at_cut.facts()["class"] == "osteoporosis (osteoporosis at ≤ 0.6 g/cm2)"
    assert regression(0.61).class_name == "osteopenia", "T −2.07 is above the cut that was validated"
    assert regression(0.9).class_name == "normal"


def test_a_reading_without_films_has_no_picture_and_one_with_films_lies_at_the_site(
    sites: TableSites,
) -> None:
    site, plain = sites.site(), regression(0.6)
    assert draw_heat_maps(site, plain) is None
    film = np.random.default_rng(0).random((32, 32), dtype=np.float32)
    seen = replace(plain, films=(film,), maps=ExamMaps(heats=(film,)))
    written = draw_heat_maps(site, seen)
    assert written.parent == site.readings
    assert written.read_bytes().startswith(b"\x89PNG")
    elsewhere = site.folder / "x.png"
    assert draw_heat_maps(site, seen, elsewhere) == elsewhere


def test_films_that_this_code_prepares_otherwise_are_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    film = np.zeros((32, 32), dtype=np.float32)
    monkeypatch.setattr(predicting, "_read", lambda *_: [predicting._View(film)])
    record = SimpleNamespace(preprocessing="of another time")
    release = SimpleNamespace(plan=SimpleNamespace(settings=compose_settings()), record=record)
    with pytest.raises(WeightsError) as caught:
        predict(release, [Path("any.dcm")], {"age": "70", "sex": "female"})
    assert caught.value.code == "weights.other-preprocessing"


@pytest.mark.parametrize(("part", "position"), [("CHEST", "AP"), ("HIP", "LL")])
def test_a_film_of_another_view_is_not_read_unless_the_site_says_what_its_words_mean(
    few_films: list[Path], tmp_path: Path, part: str, position: str
) -> None:
    other = dcmread(few_films[1])
    other.BodyPartExamined, other.ViewPosition = part, position
    for name in ("AnatomicRegionSequence", "ViewCodeSequence"):
        if name in other:
            delattr(other, name)
    other.save_as(tmp_path / "other.dcm")
    with pytest.raises(IntakeError) as caught:
        predicting._read([tmp_path / "other.dcm"], ReadingRule.of(HIP, SiteProfile()))
    assert caught.value.code == "intake.wrong-view"
    assert "hip_ap" in caught.value.fact
    own = SiteProfile(films=FilmWords(body_parts={part: "HIP"}, positions={position: "AP"}))
    [view] = predicting._read([tmp_path / "other.dcm"], ReadingRule.of(HIP, own))
    assert view.image.shape == (HIP.image_pixels, HIP.image_pixels)


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"BodyPartExamined": "XQ", "AnatomicRegionSequence": []}, "intake.unknown-words"),
        ({"ImageLaterality": "L", "Laterality": "R"}, "intake.conflicting-side"),
        ({"PixelData": b""}, "intake.blank-film"),
    ],
)
def test_a_reading_refuses_a_film_by_the_code_and_remedy_of_an_intake(
    few_films: list[Path], tmp_path: Path, tags: dict[str, object], code: str
) -> None:
    film = dcmread(few_films[1])
    film.decompress()
    film.StudyDescription = ""
    for name, value in tags.items():
        setattr(film, name, bytes(len(film.PixelData)) if name == "PixelData" else value)
    film.save_as(tmp_path / "odd.dcm")
    with pytest.raises(IntakeError) as caught:
        predicting._read([tmp_path / "odd.dcm"], ReadingRule.of(HIP, SiteProfile()))
    assert caught.value.code == code
    assert caught.value.hint == CODES[code].remedy


def test_a_film_that_cannot_be_read_says_what_to_do_about_it(tmp_path: Path) -> None:
    torn = tmp_path / "torn.dcm"
    torn.write_bytes(b"DICM")
    with pytest.raises(IntakeError) as caught:
        predicting._read([torn], ReadingRule.of(HIP, SiteProfile()))
    reason = CODES["intake.unreadable-dicom"]
    assert (caught.value.code, caught.value.fact) == ("intake.unreadable-dicom", reason.meaning)
    assert caught.value.hint == reason.remedy


@pytest.fixture
def brightness(monkeypatch: pytest.MonkeyPatch) -> Release:
    """A release that reads of an exam how light its films are, plus its age in SDs."""
    seen: list[int] = []

    def make(*_: object) -> object:
        def scored(
            views: torch.Tensor, fields: torch.Tensor, mask: torch.Tensor, said: torch.Tensor
        ) -> torch.Tensor:
            seen.append(len(views))
            assert said.shape == (*views.shape[:2], 0)  # the usual features measure no film
            assert fields.shape[0] == mask.shape[0] == len(views)
            assert len(views) <= 32
            return views.mean(dim=(1, 2, 3)).double()[:, None] + fields[:, 0, :1]

        return scored

    monkeypatch.setattr(asking, "make_scored", make)
    monkeypatch.setattr(asking, "make_seen", lambda *_: lambda views: views)
    monkeypatch.setattr(predicting, "attend_fields", lambda *_: {"age": 1.0})
    light = {"a": 0.5, "b": 0.7}
    monkeypatch.setattr(
        predicting,
        "_read",
        lambda paths, _: [
            predicting._View(np.full((32, 32), light[path.name], np.float32)) for path in paths
        ],
    )
    settings = compose_settings()
    record = SimpleNamespace(decision=decision_of(settings), preprocessing=PREPROCESSING_VERSION)
    return SimpleNamespace(plan=SimpleNamespace(settings=settings), record=record, seen=seen)


def test_an_exam_is_read_of_all_its_films_and_values_together(brightness: Release) -> None:
    reading = predict(brightness, [Path("a"), Path("b")], REQUIRED | {"age": "77"})
    # the mean of both films, and one SD of age above the reference
    assert reading.value == pytest.approx(0.6 + 1.0, abs=1e-6)
    assert [float(each.mean()) for each in reading.films] == pytest.approx([0.5, 0.7])
    assert len(reading.maps.heats) == 2
    # a film of one light has nothing to hide
    assert not np.concatenate(reading.maps.heats).round(6).any()
    assert reading.unit == "g/cm2"
    assert reading.field_attention == {"age": 1.0}


def test_a_reading_whose_maps_are_not_reliable_draws_no_picture(
    brightness: Release, tmp_path: Path
) -> None:
    # films of one light are hidden by their own mean: the score never changes
    reading = predict(brightness, [Path("a"), Path("b")], REQUIRED, map_kind="lime")
    assert reading.maps.heats == (None, None)
    assert [note.partition(":")[0] for note in reading.maps.notes] == ["not reliable"] * 2
    assert draw_heat_maps(SimpleNamespace(), reading, tmp_path / "x.png") is None
    assert not (tmp_path / "x.png").exists()


def test_a_release_that_reads_films_is_not_asked_without_one(brightness: Release) -> None:
    with pytest.raises(IntakeError) as caught:
        predict(brightness, [], REQUIRED)
    assert caught.value.code == "intake.no-film-given"


def test_a_picture_is_named_by_the_sites_clock_and_says_what_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, object]] = []
    monkeypatch.setattr(
        "client.reading.heat_map.write_heat_maps", lambda path, *_, **given: told.append(given)
    )
    film = np.zeros((4, 4), np.float32)
    seen = replace(regression(0.6), films=(film,), maps=ExamMaps(heats=(film,)))
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    site = SimpleNamespace(readings=tmp_path, clock=lambda: moment)
    assert draw_heat_maps(site, seen) == tmp_path / "20260102T030405000006Z.png"
    assert told[0]["unit"] == "g/cm2"
    assert told[0]["title"] == "change when this place is hidden"
    for words in ("value 0.600 g/cm2", "T-score -2.15", "class osteoporosis"):
        assert words in str(told[0]["caption"])


def test_a_probability_says_of_which_class_in_words_and_picture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = compose_settings(["experiment=bmd_classes"])
    record = SimpleNamespace(decision=decision_of(settings))
    release = SimpleNamespace(plan=SimpleNamespace(settings=settings), record=record)
    film = np.zeros((32, 32), dtype=np.float32)
    outputs = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64)
    reading = replace(_describe(release, outputs, [film]), maps=ExamMaps(heats=(film,)))
    endpoint = settings.task.positive_class
    place = record.decision.classes.index(endpoint)
    assert reading.probability_of == endpoint == "osteoporosis"
    assert reading.facts()["probability of osteoporosis"] == f"{float(outputs[0, place]):.3f}"
    told: list[dict[str, object]] = []
    monkeypatch.setattr(
        "client.reading.heat_map.write_heat_maps", lambda *_, **words: told.append(words)
    )
    draw_heat_maps(SimpleNamespace(), reading, tmp_path / "x.png")
    assert told[0]["unit"] == "probability of osteoporosis"
    assert f"probability of osteoporosis {reading.value:.3f}, " in str(told[0]["caption"])


def test_a_reading_says_every_probability_the_likeliest_class_and_the_one_that_was_validated() -> None:
    settings = compose_settings(["experiment=bmd_classes"])
    decision = decision_of(settings)
    release = SimpleNamespace(
        plan=SimpleNamespace(settings=settings), record=SimpleNamespace(decision=decision)
    )
    # osteoporosis is called from 0.3 on; normal is likelier here
    by_name = {"normal": 0.4, "osteopenia": 0.25, "osteoporosis": 0.35}
    outputs = torch.tensor([[by_name[name] for name in decision.classes]], dtype=torch.float64)
    reading = _describe(release, outputs, [])
    assert dict(reading.probabilities) == by_name
    assert (reading.likeliest, reading.class_name) == ("normal", "osteoporosis")
    facts = reading.facts()
    assert [facts[f"probability of {name}"] for name in by_name] == ["0.400", "0.250", "0.350"]
    assert facts["likeliest class"] == "normal"
    assert facts["class"] == "osteoporosis (osteoporosis at ≥ 0.3, else the likeliest of the others)"
    number = regression(0.6)
    assert (number.probabilities, number.likeliest) == ({}, None)
    assert "likeliest class" not in number.facts()
