"""The report: self-contained, complete, honest about what is missing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import ValidationError

from server.report.page import read_results, render_page, write_report
from server.report.patients import characteristics
from server.report.results import (
    DescriptionResult,
    FurtherResult,
    PrivacyResult,
    Results,
    TrainingResult,
    ValidationResult,
)
from server.report.terminal import table_for_terminal, table_of_patients
from server.report.wording import (
    write_bytes,
    write_duration,
    write_figure,
    write_mean_of_sites,
    write_time,
)
from shared.privacy.accountant import NO_ACCOUNTANT
from shared.privacy.cost import NO_MECHANISM
from shared.sums.estimate import NOT_APPLICABLE, SUPPRESSED, TOO_NOISY, Estimate


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))


def with_figures(results: Results, **figures: Estimate) -> Results:
    from dataclasses import replace

    first, *others = results.validation
    changed = first.model_copy(update={"measures": replace(first.measures, **figures)})
    return results.model_copy(update={"validation": (changed, *others)})


def test_page_makes_no_request_and_runs_no_script(results: Results) -> None:
    text = render_page(results)
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "video", "form"}
    assert not re.search(r"@import|url\(|src=|<!ENTITY", text)
    assert set(re.findall(r"https?://[^\"' <]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in text


def test_tables_and_pictures_can_be_read_aloud(results: Results) -> None:
    text = render_page(results)
    page = Page(text)
    assert text.count("<caption>") == text.count("<table>") >= 6
    assert all("scope" in attrs for tag, attrs in page.tags if tag == "th")
    assert text.count("<desc>") == text.count("<svg") == 4
    assert "northgate: 0." in text.split("<desc>")[1].split("</desc>")[0]


def test_every_section_says_how_to_read_it(results: Results) -> None:
    text = render_page(results)
    assert text.count("How to read this") >= text.count("<h2") - 1
    assert "not a medical device" in text


def test_every_epsilon_comes_with_its_qualifiers(results: Results) -> None:
    text = render_page(results)
    for site in ("northgate", "st-anna", "lakeside"):
        assert site in text
    for word in ("unit patient", "add/remove", "δ = 1e−5", "exact Gaussian (GDP)", "50 full-batch"):
        assert text.count(word) >= 3, word


def test_privacy_off_is_said_in_words(results: Results, without_privacy) -> None:
    off = without_privacy(results)
    assert render_page(off).count("no formal privacy guarantee") >= 4
    assert "no formal privacy guarantee" in table_for_terminal(off)[1].rows[0]
    assert "no formal privacy guarantee" not in render_page(results)


def test_a_run_that_noises_nothing_speaks_of_no_epsilon_and_no_delta(results: Results) -> None:
    exact = {"accountant": NO_ACCOUNTANT, "mechanism": NO_MECHANISM, "mode": "off"}
    nothing = dict.fromkeys(("training_epsilon", "run_epsilon", "lifetime_epsilon", "left_epsilon"))
    privacy = tuple(row.model_copy(update=exact | nothing) for row in results.privacy)
    rows = tuple(
        row.model_copy(update={"release_class": "governed", "epsilon": None})
        for row in results.validation
    )
    off = results.model_copy(update={"privacy": privacy, "validation": rows, "limits": ()})
    section = render_page(off).partition('id="privacy"')[2].partition("</section>")[0]
    table = table_for_terminal(off)[1]
    for text in (section, str(table)):
        assert NO_MECHANISM in text
        for word in ("ε", "δ", "add/remove", "Gaussian", "Lifetime", "lifetime"):
            assert word not in text, word
    assert table.columns == ("site", "training", "mechanism")
    assert "Run ε" in render_page(results)


def test_suppressed_and_na_are_words_and_never_numbers(results: Results) -> None:
    changed = with_figures(results, auc=SUPPRESSED, sensitivity=NOT_APPLICABLE)
    row = re.search(r'<th scope="row">northgate</th>(.*?)</tr>', render_page(changed), re.S)
    assert row is not None
    assert '<td class="word">suppressed</td>' in row[1]
    assert '<td class="word">NA</td>' in row[1]
    assert table_for_terminal(changed)[0].rows[0][3:5] == ("suppressed", "NA")


def test_missing_updates_and_replies_appear_with_their_reason(results: Results) -> None:
    text = render_page(results)
    assert text.count("<code>engine.no-reply</code>") == 2
    assert "protocol.norm-too-large" in text
    assert "no valid reply (policy.release-not-allowed)" in text
    assert "before the day of its lock" in text
    assert "47 of 50" in text


def test_reader_always_sees_what_no_training_gives(results: Results) -> None:
    assert render_page(results).count("no training<br>(public mean)") == 2  # internal pooled, external
    task = results.task.model_copy(update={"kind": "classification", "target_unit": ""})
    classes = render_page(results.model_copy(update={"task": task}))
    assert classes.count("no training<br>(all alike)") == 2


def test_how_well_no_training_explains_stands_beside_exact_figures_only(results: Results) -> None:
    assert "same table" not in render_page(results)
    r2 = Estimate(status="measured", value=-0.12, low=-0.2, high=-0.05)
    [outside] = [row for row in results.validation if row.kind == "external"]
    exact = outside.model_copy(update={"release_class": "governed", "untrained_r2": r2})
    text = render_page(results.model_copy(update={"validation": (exact,)}))
    assert "same table" in text
    assert "−0.12<small>−0.20 to −0.05</small>" in text


def test_report_json_is_the_results(results: Results, tmp_path: Path) -> None:
    page, data = write_report(tmp_path / "report", results)
    assert page.name == "report.html"
    assert read_results(data) == results
    assert page.read_text() == render_page(results)


def test_texts_from_sites_are_escaped(results: Results) -> None:
    row = ValidationResult(
        kind="external", site="<b>x", status="missing", code="<script>", release_class="dp"
    )
    text = render_page(results.model_copy(update={"validation": (*results.validation, row)}))
    assert "<script>" not in text
    assert "<b>x" not in text


def test_a_classification_without_any_validation_is_a_page_too(results: Results) -> None:
    task = results.task.model_copy(update={"kind": "classification", "target_unit": ""})
    empty = results.model_copy(
        update={"task": task, "validation": (), "rounds": (), "site_auc": None, "lock_sha256": None}
    )
    text = render_page(empty)
    assert "R²" not in text
    assert "not locked" in text
    assert table_for_terminal(empty)[0].rows == ()


@pytest.mark.parametrize(
    ("kind", "plain", "name"),
    [
        (ValidationResult, {"kind": "internal"}, "measures"),
        (DescriptionResult, {}, "description"),
        (FurtherResult, {"stage": "errors_internal"}, "figures"),
    ],
)
def test_a_row_has_its_figures_where_it_was_measured_and_only_there(
    results: Results,
    described_results: Results,
    kind: type[ValidationResult | DescriptionResult | FurtherResult],
    plain: dict[str, object],
    name: str,
) -> None:
    held = {
        "measures": results.validation[0].measures,
        "description": next(each.description for each in described_results.description),
        "figures": {"n": Estimate(status="measured", value=1.0)},
    }[name]
    row = {"site": "a", "release_class": "dp", "status": "measured"} | plain
    assert getattr(kind.model_validate(row | {name: held}), name) is not None
    assert getattr(kind.model_validate(row | {"status": "missing"}), name) is None
    with pytest.raises(ValidationError, match=f"{name} must be given when status is measured"):
        kind.model_validate(row)
    with pytest.raises(ValidationError, match=f"{name} must be given when status is measured"):
        kind.model_validate(row | {"status": "missing", name: held})
    for site, is_pooled in (("pooled", True), ("a", False)):
        if hasattr(kind, "is_pooled"):
            made = kind.model_validate(row | {"site": site, name: held})
            assert made.is_pooled is is_pooled


def test_results_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValidationError, match="measures must be given"):
        ValidationResult(kind="internal", site="a", status="measured", release_class="dp")
    with pytest.raises(ValidationError, match="training_epsilon"):
        PrivacyResult(site="a", mode="patient_dp", mechanism="g", accountant="g", delta=1e-5)


def test_terminal_rows_match_their_columns(results: Results) -> None:
    for table in table_for_terminal(results):
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_figures_are_written_alike_everywhere() -> None:
    measured = Estimate(status="measured", value=-0.004, low=-0.126, high=0.118)
    assert write_figure(measured) == "0.00 (−0.13 to 0.12)"
    exact = Estimate(status="measured", value=178.0, low=178.0, high=178.0)
    assert write_figure(exact, digits=0) == "178"
    assert [write_bytes(n) for n in (999, 1_480, 4_310_000)] == ["999 B", "1.5 kB", "4.3 MB"]
    assert write_time("2027-03-01T10:02:41.5+01:00") == "2027-03-01 09:02 UTC"
    assert write_duration(0) == "–"
    assert [write_duration(s) for s in (3.14, 161, 4000)] == ["3.1 s", "2 min 41 s", "1 h 6 min"]


def test_the_page_says_who_the_patients_are_pooled_first(described_results: Results) -> None:
    page = render_page(described_results)
    start = page.index('aria-label="patients table"')
    table = page[start : page.index("</table>", start)]
    assert table.index("all sites, pooled") < table.index("northgate") < table.index("lakeside")
    pooled = next(row for row in described_results.description if row.is_pooled).description
    age, weight = pooled.numbers
    assert f"{age.mean.value:.1f}<small>{age.mean.low:.1f} to {age.mean.high:.1f}" in table
    assert f"{100 * pooled.prevalence.value:.1f}<small>" in table
    assert f"{100 * weight.missing.value:.1f}<small>" in table
    assert "age, years: SD" in table
    assert "age: missing" not in table
    assert "sex: male, %" in table
    assert "dp, ε = 1.00" in table
    assert "age 41 to 95, weight 27 to 117" in page
    assert "st-anna: no valid reply (policy.purpose-forbidden)." in page


def test_a_group_too_small_is_suppressed_in_the_table_of_patients(
    described_results: Results,
) -> None:
    rows = characteristics(described_results.description)
    male = next(row for row in rows if row.name == "sex: male, %")
    assert [cell.text for cell in male.cells][2] == "suppressed"
    assert male.cells[2].is_word
    assert male.cells[0].small


def of_forest(results: Results) -> Results:
    training = TrainingResult(total="rows", combined="added", lengths=(14_400,))
    first, *_ = results.rounds
    return results.model_copy(update={"training": training, "rounds": (first,), "duration_s": 0.0})


def test_the_page_says_what_left_in_training_and_whether_sites_weigh(results: Results) -> None:
    averaged = render_page(results)
    assert (
        "What left in training is changes of the trained weights (21,345 numbers a round)" in averaged
    )
    assert "fixed share in every average" in averaged
    assert averaged.count('<th scope="col">Weight</th>') == 1
    assert averaged.count('<th scope="col">Share of weight</th>') == 1
    assert "signed updates, tables: " in averaged
    added = render_page(of_forest(results))
    assert "sums of one bounded row per patient (14,400 numbers, once)" in added
    assert "their totals are added" in added
    assert not re.search(r"trained weight|weights in|Share of weight|>Weight<|updates|share in", added)


def test_every_row_of_the_sites_has_a_cell_for_each_column(results: Results) -> None:
    for each in (results, of_forest(results)):
        text = render_page(each)
        table = text[text.index('aria-label="sites table"') :].partition("</table>")[0]
        head, *rows = re.findall(r"<tr>.*?</tr>", table, re.S)
        assert len(rows) == len(each.sites)
        assert {len(re.findall("<t[hd]", row)) for row in rows} == {len(re.findall("<th", head))}


def test_one_round_is_one_round_and_a_duration_that_nobody_measured_is_not_told(
    results: Results,
) -> None:
    assert "Sites of the run, 50 rounds in 2 min 41 s." in render_page(results)
    one = render_page(of_forest(results))
    assert "Sites of the run, 1 round." in one
    assert "1 rounds" not in one


def test_a_run_that_releases_no_description_says_nothing_of_one(results: Results) -> None:
    page = render_page(results)
    assert "Who the patients are" not in page
    assert len(table_for_terminal(results)) == 2


def test_the_terminal_shows_the_same_table_and_who_gave_none(described_results: Results) -> None:
    table = table_for_terminal(described_results)[-1]
    assert table.title == "Who the patients are"
    assert all(len(row) == len(table.columns) for row in table.rows)
    named = [row.name for row in characteristics(described_results.description)]
    assert [row[0] for row in table.rows] == [*named, "release", "st-anna"]
    refused = [row for row in described_results.description if row.description is None]
    alone = table_of_patients(refused)
    assert (alone.columns, alone.rows) == (
        ("site", "why"),
        (("st-anna", "no valid reply (policy.purpose-forbidden)"),),
    )


def test_report_json_keeps_the_second_moments(described_results: Results, tmp_path: Path) -> None:
    _, data = write_report(tmp_path, described_results)
    found = read_results(data)
    assert found == described_results
    pooled = next(row for row in found.description if row.is_pooled).description
    moments = pooled.second_moments
    assert len(moments.covariance) == len(moments.names) == 5
    assert moments.entry_sd > 0


def test_the_page_says_what_noise_and_public_bounds_do_to_its_figures(results: Results) -> None:
    row = FurtherResult(
        stage="internal", site="northgate", status="measured", release_class="dp", figures={}
    )
    noised = results.model_copy(update={"further": (row,)})
    exact = noised.model_copy(
        update={
            "validation": tuple(
                each.model_copy(update={"release_class": "governed", "epsilon": None})
                for each in results.validation
            )
        }
    )
    for words in (
        "its estimate says nothing",
        "add up to the patients;",
        "add up to the patients above",
        "of values so cut",
    ):
        assert words in render_page(noised)
        assert words not in render_page(exact)
    assert "all sites, pooled (AUC: mean of sites)</th>" in render_page(exact)
    assert "(AUC: mean of sites)" not in render_page(noised)
    for words in (
        "have no interval",
        "the AUC of all sites is the mean of sites",
        "too few different",
        "each patient's earliest exam",
    ):
        assert words in render_page(exact)
        assert words not in render_page(noised)
    assert f"Mean of sites: {write_mean_of_sites(results)}." in render_page(noised)


@pytest.mark.parametrize("is_graded", [True, False])
def test_an_order_read_by_one_score_is_said_to_have_no_calibration(
    results: Results, is_graded: bool
) -> None:
    task = results.task.model_copy(update={"kind": "classification", "is_graded": is_graded})
    row = FurtherResult(
        stage="internal", site="northgate", status="measured", release_class="dp", figures={}
    )
    page = render_page(results.model_copy(update={"task": task, "further": (row,)}))
    assert ("there is no calibration of one" in page) == is_graded
    assert "of values so cut" not in page


def test_what_noise_hides_at_every_site_is_named_in_one_line(results: Results) -> None:
    narrow = Estimate(status="measured", value=0.8, low=0.7, high=0.9)
    rows = tuple(
        FurtherResult(
            stage="subgroups_internal",
            site=site,
            status="measured",
            release_class="dp",
            figures={"AUC, women": auc, "AUC, men": TOO_NOISY, "κ": SUPPRESSED},
        )
        for site, auc in (("northgate", narrow), ("eastbridge", TOO_NOISY))
    )
    page = render_page(results.model_copy(update={"further": rows}))
    assert "<h3>Subgroups internal</h3>" in page
    assert '<th scope="row">AUC, women</th>' in page
    assert '<th scope="row">κ</th>' in page, "withheld for another reason"
    assert '<th scope="row">AUC, men</th>' not in page
    assert "<em>too noisy</em> at every site: AUC, men." in page
