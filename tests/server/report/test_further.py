"""Further measures of a release: a row per site and one of all pooled, against shares by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import practice_federation as practice
import pytest
from practice_release import finish_run, keep_refusal, keep_total
from practice_report import NOISE, STATISTICS, TABLE, answer, found_run, statistics_of

from server.report.collect import collect_results
from server.report.further import collect_further
from server.report.page import render_page
from server.report.results import FurtherResult
from server.report.terminal import table_for_terminal
from server.run.folder import RunStore
from shared.contract.settings import read_settings

EDGES = (0.25, 0.5)
STAGE = "errors_internal"


def found(home: Path, release_class: str, groups: tuple[str, ...] = ("internal",)) -> RunStore:
    """Three training sites and an external one, asked for a histogram of errors; nobody answered."""
    content = practice.practice_settings().model_dump(mode="json")
    content["validation"] |= {"release_class": release_class}
    content["task"] = {"kind": "regression", "endpoint": "low", "endpoint_threshold": 0.5}
    content["task"]["target_unit"] = "u"
    content["cohort"]["label"] = {"kind": "number", "column": "y", "unit": "u", "low": 0, "high": 1}
    measure = {"kind": "errors", "edges": EDGES}
    content["measures"] = {"errors": {"groups": groups, "epsilon": 1.0, "measure": measure}}
    settings = read_settings(content)
    return practice.found_federation(home, settings=settings, n_sites=3, n_external=1)[0]


def rows_of(store: RunStore) -> Mapping[str, FurtherResult]:
    rows = collect_further(store)
    assert {row.stage for row in rows} <= {STAGE}
    return {row.site: row for row in rows}


def shares(row: FurtherResult) -> dict[str, float | None]:
    return {name: each.value for name, each in (row.figures or {}).items()}


def test_a_row_for_each_site_and_one_of_all_pooled(tmp_path: Path) -> None:
    store = found(tmp_path, "governed")
    keep_total(store, STAGE, "site-0", np.array([20.0, 10.0, 10.0]))
    keep_total(store, STAGE, "site-1", np.array([10.0, 40.0, 10.0]))
    keep_total(store, STAGE, "site-2", np.zeros(0), status="not-applicable")
    rows = rows_of(store)
    assert list(rows) == ["site-0", "site-1", "site-2", "pooled"]
    assert shares(rows["site-0"]) == {"within 0.25": 0.5, "within 0.5": 0.75}
    assert shares(rows["site-1"]) == {"within 0.25": 1 / 6, "within 0.5": 5 / 6}
    assert shares(rows["pooled"]) == {"within 0.25": 0.3, "within 0.5": 0.8}
    assert (rows["site-2"].status, rows["site-2"].figures) == ("not-applicable", None)
    assert {row.release_class for row in rows.values()} == {"governed"}


def test_a_site_that_refused_is_missing_with_its_code_and_no_price(tmp_path: Path) -> None:
    store = found(tmp_path, "dp")
    keep_total(store, STAGE, "site-0", np.array([20.0, 10.0, 10.0]))
    keep_total(store, STAGE, "site-1", np.array([10.0, 40.0, 10.0]))
    keep_refusal(store, STAGE, "site-2", "policy.purpose-forbidden")
    rows = rows_of(store)
    assert (rows["site-2"].status, rows["site-2"].code) == ("missing", "policy.purpose-forbidden")
    assert rows["site-2"].epsilon is None
    assert rows["site-0"].epsilon == pytest.approx(1.0, abs=0.01)
    assert rows["pooled"].epsilon == rows["site-0"].epsilon


def test_noise_of_every_site_is_in_the_pooled_interval(tmp_path: Path) -> None:
    loud, exact = found(tmp_path / "dp", "dp"), found(tmp_path / "governed", "governed")
    for store in (loud, exact):
        for site in ("site-0", "site-1", "site-2"):
            keep_total(store, STAGE, site, np.array([2e5, 1e5, 1e5]))

    def width(store: RunStore) -> float:
        low_high = rows_of(store)["pooled"].figures["within 0.25"]
        return low_high.high - low_high.low

    # of 1.2 million patients the sampling interval is ±0.0009; noise beside it is of the same SD
    # σ·√3·√(0.25·1 + 0.25·2) over the total
    sd = loud.plan.stage(STAGE).noise_of(1) * (3 * 0.75) ** 0.5 / 1.2e6
    expected = 2 * 1.96 * (sd**2 + 0.25 / 1.2e6) ** 0.5
    assert width(loud) == pytest.approx(expected, abs=6e-4)
    assert width(loud) >= width(exact) > 0


def test_one_site_alone_is_not_pooled_and_nobody_asked_gives_no_row(tmp_path: Path) -> None:
    store = found(tmp_path, "governed")
    assert collect_further(store) == ()
    keep_total(store, STAGE, "site-1", np.array([10.0, 40.0, 10.0]))
    assert list(rows_of(store)) == ["site-1"]


def test_measures_follow_the_order_of_the_plan(tmp_path: Path) -> None:
    store = found(tmp_path, "governed", ("internal", "external"))
    keep_total(store, "errors_external", "site-3", np.array([30.0, 0.0, 0.0]))
    keep_total(store, STAGE, "site-1", np.array([10.0, 40.0, 10.0]))
    rows = collect_further(store)
    assert [(row.stage, row.site) for row in rows] == [(STAGE, "site-1"), ("errors_external", "site-3")]


def test_a_finished_run_shows_its_measures_and_counts_the_release_they_read(
    tmp_path: Path,
) -> None:
    store = found(tmp_path, "governed")
    finish_run(store)
    keep_total(store, STAGE, "site-0", np.array([20.0, 10.0, 10.0]))
    keep_total(store, STAGE, "site-1", np.array([10.0, 40.0, 10.0]))
    keep_refusal(store, STAGE, "site-2", "policy.purpose-forbidden")
    results = collect_results(store)
    first, _, third, _ = results.sites
    # six float32 a round and of the release; three float64 of the measure
    assert (first.bytes_sent, first.bytes_received) == (3 * 24 + 3 * 8, (3 + 1) * 24)
    assert (third.bytes_sent, third.bytes_received) == (3 * 24, 3 * 24)
    [table] = [each for each in table_for_terminal(results) if each.title == STAGE]
    assert table.columns == ("", "site-0", "site-1", "site-2", "all sites, pooled")
    assert [row[0] for row in table.rows] == ["within 0.25", "within 0.5", "release"]
    assert table.rows[0][1].startswith("0.50")
    assert table.rows[0][3] == "–"
    assert "policy.purpose-forbidden" in table.rows[2][3]
    page = render_page(results)
    assert all(word in page for word in (STAGE, "within 0.25", "policy.purpose-forbidden"))


def test_a_validation_says_more_of_each_site_than_the_main_table_does(tmp_path: Path) -> None:
    noised, governed = found_run(tmp_path / "a", noise=NOISE), found_run(tmp_path / "b")
    for store in (noised, governed):
        for site in ("site-0", "site-1"):
            answer(store, site, TABLE)
    rows = {row.site: row for row in collect_further(noised)}
    assert list(rows) == ["site-0", "site-1", "pooled"]
    accuracy = (rows["pooled"].figures or {})["accuracy"]
    # 48 of 60 ill and 180 of 240 well are called rightly at each site
    assert accuracy.value == pytest.approx((48 + 180) / 300)
    exact = collect_further(governed)
    assert [row.site for row in exact] == ["site-0", "site-1"], "statistics are no sums"
    named = STATISTICS.named(statistics_of(TABLE))
    figures = exact[0].figures or {}
    assert figures["calibration slope"].value == named["slope"]
    assert figures["Brier"].value == named["brier"]
