"""The cohort page: true counts, no request, films as stored, "cannot read" is not "bad"."""

from __future__ import annotations

import base64
import re
import shutil
import stat
import struct
import zlib
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import yaml
from practice_intake import ingest_with
from table_site import TableSites
from typer.testing import CliRunner

from client.cohort.folder import Cohort
from client.cohort.quarantine import CODES
from client.cohort.versions import current_cohort
from client.cohort_page.figures import (
    Outlier,
    _far_from_middle,
    class_thresholds,
    count_splits,
    describe_images,
    films_per_year,
    find_outliers,
    missing_shares,
)
from client.cohort_page.page import render_cohort, write_cohort_page
from client.cohort_page.pictures import draw_bars, draw_histogram, png_uri
from client.cohort_page.quarantine import CANNOT_READ, group_quarantine
from client.command.app import app
from client.people.withdrawal import withdraw
from client.site.folder import Site, create_site, open_site
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
    assert "intake.wrong-view" in codes["Left out on purpose"]
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
    assert (found[0].image, found[0].patient) == (spoilt, cohort.exams[3].patient)


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
