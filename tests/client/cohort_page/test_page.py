"""The cohort page: true counts, no request, films as stored, "cannot read" is not "bad"."""

from __future__ import annotations

import base64
import re
import shutil
import stat
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from practice_framing import WHOLE
from practice_intake import ingest_with
from table_site import TableSites
from typer.testing import CliRunner

from client.cohort.folder import Cohort, Exam, StoredFilm
from client.cohort.label import ExamLabel
from client.cohort.quarantine import CODES
from client.cohort.versions import current_cohort
from client.cohort_page import page as page_module
from client.cohort_page.figures import (
    Outlier,
    _far_from_middle,
    class_thresholds,
    count_scanners,
    count_splits,
    describe_images,
    films_per_year,
    find_outliers,
    missing_shares,
)
from client.cohort_page.page import render_cohort, write_cohort_page
from client.cohort_page.pictures import draw_bars, draw_histogram, draw_window, png_uri
from client.cohort_page.quarantine import CANNOT_READ, group_quarantine
from client.command.app import app
from client.people.withdrawal import withdraw
from client.site.folder import Site, create_site, open_site
from client.site.linkage import PatientKey
from client.site.profile import SiteProfile
from server.synthetic.folder import SyntheticTruth, write_hospital
from server.synthetic.hospitals import BIRCH, Defects
from shared.exam.schema import CohortSchema

HIP = Path(__file__).parents[3] / "configs" / "cohort" / "hip_bmd.yaml"
PROFILE = SiteProfile(dxa_vendor="lunar", dxa_skeletal_site="femoral_neck", separator=";", decimal=",")
DEFECTS = Defects(truncated_films=2, burned_in=1, wrong_view=1, missing_label=2, value_out_of_range=1)

Ward = tuple[Site, Cohort, SyntheticTruth]


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    folder = tmp_path_factory.mktemp("ward")
    truth = write_hospital(folder / "in", replace(BIRCH, n_patients=24, defects=DEFECTS), seed=5)
    create_site(folder / "site", name="birch", declared_patients=20, profile=PROFILE)
    site = open_site(folder / "site")
    schema = CohortSchema.model_validate(yaml.safe_load(HIP.read_text()))
    ingest_with(
        folder / "in",
        store=site.cohorts,
        schema=schema.model_copy(update={"max_lost_fraction": 0.9}),
        profile=PROFILE,
        pseudonyms=site.pseudonyms,
        linkage=site.linkage,
        clock=lambda: datetime(2024, 6, 30, tzinfo=UTC),
    )
    site = open_site(folder / "site")
    return site, current_cohort(site, "hip_bmd"), truth


@pytest.fixture(scope="module")
def page(ward: Ward) -> str:
    return render_cohort(ward[0], ward[1])


def test_the_page_makes_no_request_and_runs_no_script(page: str) -> None:
    assert "default-src 'none'" in page
    tags = set(re.findall(r"<([a-z]+)", page))
    assert not tags & {"script", "link", "iframe", "object", "video", "form"}
    assert {source[:22] for source in re.findall(r'src="([^"]*)', page)} == {"data:image/png;base64,"}
    assert set(re.findall(r"https?://[^\"' <]+", page)) == {"http://www.w3.org/2000/svg"}


def test_the_page_is_for_its_owner_only_and_says_that_it_stays(ward: Ward, page: str) -> None:
    path = write_cohort_page(ward[0], ward[1])
    assert path.parent == ward[0].folder / "pages"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "This page stays in the hospital" in page


def test_counts_are_those_of_the_cohort(ward: Ward) -> None:
    _, cohort, _ = ward
    rows = count_splits(cohort)
    assert sum(row.n_patients for row in rows) == len(cohort.patients())
    assert sum(row.n_exams for row in rows) == len(cohort.exams)
    assert sum(row.n_films for row in rows) == len(cohort.images)
    labelled = [exam.label.class_name for exam in cohort.exams if exam.label]
    assert sum(row.n_labelled for row in rows) == len(labelled) == len(cohort.exams) - 2
    summed: Counter[str] = Counter()
    for row in rows:
        summed.update(row.classes)
    assert summed == Counter(labelled)


def test_missing_shares_are_counted_by_hand(ward: Ward) -> None:
    _, cohort, _ = ward
    empty = {exam.exam for exam in cohort.exams if exam.values["height"] is None}
    shares = dict(missing_shares(cohort))
    assert shares["height"] == len(empty) / len(cohort.exams)
    assert shares["label"] == 2 / len(cohort.exams)
    assert shares["age"] == 0


def test_years_are_the_true_ones_behind_shifted_days(ward: Ward) -> None:
    site, cohort, _ = ward
    per_year = films_per_year(cohort, site.pseudonyms)
    assert sum(n for _, n in per_year) == len(cohort.images)
    years = range(BIRCH.first_day.year, BIRCH.last_day.year + 1)
    assert {year for year, _ in per_year} <= {str(year) for year in years}


def test_what_cannot_be_read_stands_apart_from_what_is_bad_or_left_out(ward: Ward) -> None:
    site, cohort, _ = ward
    unread, wrong, aside = group_quarantine(cohort.quarantined, site.linkage)
    codes = {group.title: {row.code for row in group.rows} for group in (unread, wrong, aside)}
    assert codes["Could not be read"] == {"intake.unreadable-dicom"}
    assert "intake.burned-in-annotation" in codes["To be corrected"]
    # the lateral film of a patient who has no other
    assert "intake.wrong-view" in codes["To be corrected"]
    assert unread.n + wrong.n + aside.n == len(cohort.quarantined)
    assert "does not make them bad" in unread.explanation
    assert set(CODES) >= CANNOT_READ


def test_examples_name_the_true_files_and_are_few(ward: Ward, page: str) -> None:
    site, cohort, truth = ward
    row = group_quarantine(cohort.quarantined, site.linkage)[0].rows[0]
    spoilt = {patient.patient_id for patient in truth.patients if patient.defect == "truncated_films"}
    assert len(spoilt) == 2
    assert 1 <= len(row.examples) <= 3
    assert all(any(number in example for number in spoilt) for example in row.examples)
    for each in group_quarantine(cohort.quarantined, site.linkage):
        for entry in each.rows:
            assert entry.remedy in unescape(page)


def test_a_hostile_file_name_is_text_on_the_page(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    site, cohort, _ = ward
    monkeypatch.setattr(type(site.linkage), "place_of", lambda *_: "<script>alert(1)</script>")
    text = render_cohort(site, cohort)
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_an_outlier_is_found_on_either_side_and_a_long_tail_is_not_all_outliers() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(160, 6, 400), [16.0, 1700.0]])
    assert {place for place, _, _ in _far_from_middle(values)} >= {400, 401}
    skewed = rng.exponential(10, 2000)
    assert len(_far_from_middle(skewed)) < 40
    assert _far_from_middle(np.zeros(50)) == []
    assert _far_from_middle(np.array([1.0, 900.0])) == []


def test_an_inverted_film_is_an_outlier_with_its_picture(ward: Ward) -> None:
    _, cohort, _ = ward
    described = describe_images(cohort)
    spoilt = cohort.exams[3].films[0].image
    described[spoilt, 0] = 0.95
    found = find_outliers(cohort, described)
    assert isinstance(found[0], Outlier)
    assert (spoilt, cohort.exams[3].patient) in [(each.image, each.patient) for each in found]


def test_a_films_padding_does_not_darken_it() -> None:
    image = np.zeros((32, 32), dtype=np.float16)
    image[:, 8:24] = 0.5
    cohort = type("Padded", (), {"images": [image]})()
    assert describe_images(cohort).tolist() == [[0.5, 0.0]]


def test_a_film_on_the_page_is_the_stored_one(ward: Ward) -> None:
    image = np.asarray(ward[1].images[0])
    data = base64.b64decode(png_uri(image).split(",")[1])
    width, height = struct.unpack(">II", data[16:24])
    lines = zlib.decompress(data[data.index(b"IDAT") + 4 : data.index(b"IEND") - 8])
    pixels = np.frombuffer(lines, dtype=np.uint8).reshape(height, width + 1)[:, 1:]
    np.testing.assert_array_equal(pixels, (image.astype(np.float32) * 255).astype(np.uint8))


def test_a_histogram_shows_every_value_once() -> None:
    values = np.array([1.0, 1.2, 1.9, 2.0, 2.7])
    picture = draw_histogram([("", values)], title="t", unit="cm", n_bins=2)
    tall = [float(height) for height in re.findall(r'height="([\d.]+)" fill="#0b5c8a"', picture)]
    assert len(tall) == 2
    assert tall[0] / tall[1] == pytest.approx(3 / 2, rel=0.02)
    assert "5 values from 1 to 2.7 cm, median 1.9" in picture
    assert "no values" in draw_histogram([("", np.zeros(0))], title="t", unit="cm")
    draw_histogram([("", np.full(5, 3.0))], title="all equal", unit="cm")


def test_bars_are_as_long_as_their_numbers_and_missing_much_is_marked() -> None:
    picture = draw_bars([("a", 0.1), ("b", 0.5)], title="t", as_share=True, warn_above=0.3)
    first, second = (float(wide) for wide in re.findall(r'width="([\d.]+)" height="14"', picture))
    assert second / first == pytest.approx(5, rel=0.02)
    assert picture.count("#b3541e") == 1


def test_the_bar_of_a_share_is_that_share_of_the_whole_width() -> None:
    [whole], [half] = (
        re.findall(r'width="([\d.]+)" height="14"', draw_bars([("a", share)], title="t", as_share=True))
        for share in (1.0, 0.5)
    )
    assert float(half) == pytest.approx(float(whole) / 2, rel=0.01)


def test_the_marks_of_a_bmd_are_where_its_classes_begin_below_the_healthy(ward: Ward) -> None:
    marks = dict(class_thresholds(ward[1].schema.label))
    assert marks == pytest.approx({"osteopenia": 0.858 - 0.12, "osteoporosis": 0.858 - 2.5 * 0.12})


def test_a_cohort_without_films_ages_or_outliers_has_a_page_too(sites: TableSites) -> None:
    folder = sites.site().folder
    done = CliRunner().invoke(app, ["cohort", "breast_cytology", "--page", "--folder", str(folder)])
    assert done.exit_code == 0, done.output
    text = (folder / "pages" / "breast_cytology-v1.html").read_text()
    assert "no films: this cohort has no views" in text
    assert "malignant" in text


def test_a_cohort_of_one_patient_has_a_page_and_has_one_after_that_patient_withdrew_too(
    ward: Ward, tmp_path: Path
) -> None:
    folder = tmp_path / "site"
    shutil.copytree(ward[0].folder, folder)
    site = open_site(folder)
    *others, last = ward[1].patients()
    page = ["cohort", "hip_bmd", "--page", "--folder", str(folder)]
    for who in (others, [last]):
        for patient in who:
            identity = site.linkage.identity_of(patient)
            assert identity is not None
            withdraw(site, identity.patient_id, by="Grace Hopper", issuer=identity.issuer, purge=True)
        done = CliRunner().invoke(app, page)
        assert done.exit_code == 0, done.output
    newest = current_cohort(site, "hip_bmd")
    assert not newest.exams
    text = (folder / "pages" / f"hip_bmd-v{newest.version}.html").read_text()
    assert "no exams</div>" in text
    assert "nobody: every patient has withdrawn" in text
    assert '<td colspan="6">no films</td>' in text  # its views are not in doubt
    for title in ("Missing values", "Films per year", "Age at the first exam"):
        assert f"<title>{title}</title><desc>No values.</desc>" in text


# --- by hand, on exams of a few patients


def film(image: int, *, maker: str = "Acme", intent: str = "FOR PRESENTATION", mm: float | None = 0.2,
         side: str | None = "L") -> StoredFilm:  # fmt: skip
    return StoredFilm(
        image=image,
        film=f"{image:032x}",
        view="hip_ap",
        laterality=side,
        pixel_mm=None if mm is None else (mm, 9.0),
        framing=WHOLE,
        manufacturer=maker,
        presentation_intent=intent,
    )


def exam(
    name: str,
    patient: str,
    day: int,
    *,
    split: str = "train",
    films: tuple[StoredFilm, ...] = (),
    label: ExamLabel | None = None,
    **values: float | str | None,
) -> Exam:
    return Exam(
        exam=name,
        patient=PatientKey(patient * 32),
        day=day,
        split=split,
        films=films,
        values=dict.fromkeys(("age", "sex", "height", "weight")) | values,
        label=label,
    )


@pytest.fixture
def small(ward: Ward) -> Callable[..., Cohort]:
    """A cohort of exams given by hand."""
    return lambda *exams, **changes: replace(ward[1], exams=exams, **changes)


def test_splits_are_counted_by_patients_exams_films_labels_and_classes(
    small: Callable[..., Cohort],
) -> None:
    ill = ExamLabel(number=0.5, class_name="osteoporosis")
    cohort = small(
        exam("e1", "a", 0, films=(film(0), film(1)), label=ill),
        exam("e2", "a", 9, films=(film(2),), label=ill),
        exam("e3", "b", 0, label=ExamLabel(number=0.9)),
        exam("e4", "c", 0, split="internal", films=(film(3),)),
    )
    train, internal = count_splits(cohort)
    assert (train.split, train.n_patients, train.n_exams, train.n_films) == ("train", 2, 3, 3)
    assert (train.n_labelled, train.classes) == (3, {"osteoporosis": 2})
    assert (internal.split, internal.n_exams, internal.n_labelled) == ("internal", 1, 0)


def test_ages_are_those_of_each_patients_first_exam(small: Callable[..., Cohort]) -> None:
    cohort = small(
        exam("later", "a", 900, age=72.0, sex="female"),
        exam("first", "a", 10, age=70.0, sex="female"),
        exam("other", "b", 5, age=60.0, sex="male"),
        exam("unsaid", "c", 5, age=50.0),
    )
    picture = page_module._draw_ages(cohort)
    assert "3 values from 50 to 70 years" in unescape(picture)
    for name in ("female", "male", "not known"):
        assert f">{name}</text>" in picture
    only = small(exam("one", "a", 0, age=70.0, sex="female"))
    assert "not known" not in page_module._draw_ages(only)


def test_every_field_but_age_has_a_picture_with_its_counts(small: Callable[..., Cohort]) -> None:
    cohort = small(
        exam("e1", "a", 0, age=70.0, sex="female", height=160.0),
        exam("e2", "b", 0, age=71.0, sex="male"),
        exam("e3", "c", 0, age=72.0, sex="female", height=170.0),
    )
    drawn = dict(page_module._draw_fields(cohort))
    assert list(drawn) == [
        *("sex", "height", "weight", "bmi", "alcohol", "activity", "smoking", "prior fracture")
    ]
    assert "female 2; male 1" in drawn["sex"]
    assert "2 values from 160 to 170 cm, median 165" in drawn["height"]
    assert "no values" in drawn["weight"]


def test_a_contact_sheet_shows_thirty_films_with_their_sides(small: Callable[..., Cohort]) -> None:
    sides = ["L", "R", "B", None] * 10
    films = [film(place, side=side) for place, side in enumerate(sides)]
    images = np.zeros((40, 2, 2), np.float16)
    cohort = small(exam("e1", "a", 0, films=tuple(reversed(films))), images=images)
    shown = page_module._contact_sheet(cohort, page_module.by_lot)
    assert len(shown) == 30
    assert [each.caption.split(" · ")[1] for each in shown[:4]] == [
        *("left", "right, mirrored", "both", "side unknown")
    ]
    assert shown[0].caption.endswith("100% sure, 100% of the film exposed")
    assert shown[0].caption.startswith("00000000")
    assert shown[0].whole == ""  # of a cohort of before nobody has the whole film


def test_the_whole_film_is_shown_with_the_window_and_the_landmark_on_it(ward: Ward) -> None:
    _, cohort, _ = ward
    assert cohort.overviews.shape == (len(cohort.images), 96, 96)
    seen = 0
    for shown in page_module._contact_sheet(cohort, page_module.by_lot):
        key = shown.caption[:8]
        film = next(each for e in cohort.exams for each in e.films if each.film.startswith(key))
        if film.pixel_mm is None:
            continue  # its scale was found, its page is in pixels
        rows, columns = film.framing.shape
        high, wide = rows * film.pixel_mm[0], columns * film.pixel_mm[1]
        top, left, bottom, _ = (
            edge * film.pixel_mm[place % 2] for place, edge in enumerate(film.framing.window)
        )
        assert bottom - top == pytest.approx(128)  # the millimetres of the schema
        seen += 1
        assert f'<image href="{png_uri(cohort.overviews[film.image] / 255)}"' in shown.whole
        assert f'width="{wide:.2f}" height="{high:.2f}" preserveAspectRatio="none"' in shown.whole
        assert f'<rect x="{left:.2f}" y="{top:.2f}" width="128.00" height="128.00"' in shown.whole
        assert f"{left + 64:.2f} " in shown.whole.split("<path")[1]
    assert seen


def test_a_window_that_reaches_beyond_its_film_is_drawn_whole_and_a_view_may_have_no_landmark() -> None:
    drawn = draw_window(
        "data:,", shape=(100, 50), pixel=(2.0, 1.0), window=(-10, 5, 40, 85), has_landmark=True
    )
    assert 'viewBox="0.00 -20.00 85.00 220.00"' in drawn
    assert '<rect x="5.00" y="-20.00" width="80.00" height="100.00"' in drawn
    assert f"M{45 - 220 / 30:.2f} 30.00h" in drawn
    without = draw_window("data:,", shape=(9, 9), pixel=(1, 1), window=(0, 0, 9, 9), has_landmark=False)
    assert "<path" not in without


def test_films_whose_anatomy_was_found_with_least_confidence_come_first(
    small: Callable[..., Cohort],
) -> None:
    films = [
        replace(film(place), framing=replace(WHOLE, confidence=sure))
        for place, sure in enumerate((0.9, 0.6, 1.0))
    ]
    cohort = small(exam("e1", "a", 0, films=tuple(films)), images=np.zeros((3, 2, 2), np.float16))
    shown = page_module._contact_sheet(cohort, page_module.by_confidence)
    assert [each.caption.split(" · ")[2][:3] for each in shown] == ["60%", "90%", "100"]


def test_films_are_counted_by_year_with_years_of_none_between(
    small: Callable[..., Cohort], ward: Ward
) -> None:
    pseudonyms = SimpleNamespace(date_of=lambda _, day: date(2019, 1, 1) + timedelta(days=day))
    cohort = small(
        exam("e1", "a", 0, films=(film(0), film(1))),
        exam("e2", "b", 800, films=(film(2),)),
        exam("e3", "c", 800),
    )
    # an exam without films counts as one: a table of rows has years too
    assert films_per_year(cohort, pseudonyms) == [("2019", 2), ("2020", 0), ("2021", 2)]
    assert films_per_year(small(), pseudonyms) == []


def test_scanners_are_counted_with_light_contrast_and_pixels(small: Callable[..., Cohort]) -> None:
    cohort = small(
        exam("e1", "a", 0, films=(film(0, mm=0.1), film(1, mm=0.2))),
        exam("e2", "b", 0, films=(film(2, maker="", intent="", mm=None), film(3, mm=0.15))),
        exam("e3", "c", 0, films=(film(4, maker="Beta", mm=0.3), film(5, maker="Beta", mm=0.304))),
    )
    described = np.array([[0.1, 1], [0.2, 2], [0.9, 9], [0.6, 6], [0.5, 5], [0.7, 7]])
    first, second, third = count_scanners(cohort, described)
    assert (first.manufacturer, first.intent, first.n_films) == ("Acme", "for presentation", 3)
    assert (first.mean, first.contrast) == pytest.approx((0.3, 3.0))
    assert first.pixel_mm == "0.10 to 0.20"
    assert (second.manufacturer, second.n_films, second.pixel_mm) == ("Beta", 2, "0.30")
    assert (third.manufacturer, third.intent, third.pixel_mm) == ("not named", "not said", "unknown")


def test_deviations_are_robust_and_each_side_has_its_own() -> None:
    # median 10; below it deviations 0 to 2, above it 0 to 20
    values = np.array([8.0, 9, 9, 10, 10, 20, 20, 30, 9, 11, 10, 10])
    values = np.append(values, [1.0, 200.0])
    found = {place: (middle, away) for place, middle, away in _far_from_middle(values)}
    middle = float(np.median(values))
    below = np.median(middle - values[values <= middle])
    above = np.median(values[values >= middle] - middle)
    for place, side in ((12, below), (13, above)):
        expected = abs(values[place] - middle) / (1.4826 * side)
        if expected > 4:
            assert found[place] == pytest.approx((middle, expected))
        else:
            assert place not in found
    assert 13 in found
    assert _far_from_middle(np.append(np.arange(8.0), 900.0)) == [], "of nine values none is far out"
    assert len(_far_from_middle(np.append(np.arange(9.0), 900.0))) == 1


def test_a_value_far_out_is_named_with_its_unit_and_the_farthest_comes_first(
    small: Callable[..., Cohort],
) -> None:
    heights = [158.0, 159, 160, 161, 162, 163, 164, 165, 166, 167, 16.5]
    weights = [70.0, 71, 72, 73, 74, 75, 76, 77, 78, 79, 150.0]
    cohort = small(
        *(
            exam(f"e{place}", f"{place:x}", 0, sex="female", height=height, weight=weight)
            for place, (height, weight) in enumerate(zip(heights, weights, strict=True))
        )
    )
    first, second = find_outliers(cohort, np.zeros((0, 2)))
    assert (first.what, first.exam, first.value, first.middle) == ("height", "e10", "16.5 cm", "162 cm")
    assert (second.what, second.value, second.image) == ("weight", "150 kg", None)
    assert first.deviations > second.deviations > 4


def test_ticks_are_round_numbers_as_far_apart_as_their_places() -> None:
    picture = draw_histogram([("", np.array([1.0, 3.0, 10.0]))], title="t", unit="cm", n_bins=3)
    numbers = [float(text) for text in re.findall(r'text-anchor="middle">([\d.]+)</text>', picture)]
    # bins of five, and none ends on the largest value
    assert numbers == [0.0, 2.5, 5.0, 7.5, 10.0, 12.5, 15.0]
    places = [
        float(x) for x in re.findall(r'<text x="([\d.]+)"[^>]*text-anchor="middle">[\d.]+', picture)
    ]
    assert np.allclose(np.diff(places), np.diff(places)[0], atol=0.11)


def test_a_mark_stands_at_its_value_and_one_outside_is_not_drawn() -> None:
    values = np.array([0.0, 10.0])
    picture = draw_histogram(
        [("", values)], title="t", unit="", marks=[("half", 5.0), ("beyond", 21.0)], n_bins=10
    )
    [(x1, x2)] = re.findall(
        r'<line x1="([\d.]+)" x2="([\d.]+)" y1="[\d.]+" y2="[\d.]+" stroke="#b3541e"', picture
    )
    bars = [float(x) for x in re.findall(r'<rect x="([\d.]+)"', picture)]
    assert x1 == x2
    assert min(bars) < float(x1) < max(bars)
    assert "half ≤ 5.000" in picture
    assert "beyond" not in picture


def test_stacked_groups_lie_on_one_another_and_together_reach_the_sum() -> None:
    groups = [("a", np.array([1.0, 1.0, 3.0])), ("b", np.array([1.0, 3.0, 3.0]))]
    picture = draw_histogram(groups, title="t", unit="", n_bins=2)
    rects = [
        (float(x), float(y), float(height), shade)
        for x, y, height, shade in re.findall(
            r'<rect x="([\d.]+)" y="([\d.]+)" width="[\d.]+" height="([\d.]+)" fill="(#\w+)"', picture
        )
        if float(height) != 11
    ]
    by_place: dict[float, list[tuple[float, float, float, str]]] = {}
    for rect in rects:
        by_place.setdefault(rect[0], []).append(rect)
    left, right = (by_place[x] for x in sorted(by_place))
    for lower, upper in (left, right):
        assert upper[1] + upper[2] == pytest.approx(lower[1], abs=0.11), "one stands on the other"
    assert left[0][2] == pytest.approx(2 * left[1][2], rel=0.02)
    assert right[1][2] == pytest.approx(2 * right[0][2], rel=0.02)
    assert ">a</text>" in picture
    assert ">b</text>" in picture
