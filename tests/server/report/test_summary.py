"""What goes with a release: pooled rows of its report, and that of a single external hospital."""

from __future__ import annotations

from pathlib import Path

from practice_release import finish_run
from practice_report import NOISE, TABLE, answer, found_run

from server.report.collect import collect_results
from server.report.results import Results
from server.report.summary import summarise


def test_a_summary_has_the_pooled_row_of_several_hospitals_and_nothing_of_one(
    tmp_path: Path,
) -> None:
    store = found_run(tmp_path, noise=NOISE)
    finish_run(store)
    answer(store, "site-0", TABLE)
    assert summarise(collect_results(store)).rows == ()
    answer(store, "site-1", TABLE)
    answer(store, "site-2", None)
    results = collect_results(store)
    summary = summarise(results)
    assert (summary.release_sha256, summary.run) == (results.release_sha256, results.run)
    [row] = summary.rows
    [pooled] = [each for each in results.validation if each.is_pooled]
    assert pooled.measures is not None
    assert (row.kind, row.n_sites, row.release_class) == ("internal", 2, "dp")
    assert row.epsilon == pooled.epsilon
    assert row.figures["auc"].value == pooled.measures.auc.value
    assert (row.figures["auc"].low, row.figures["auc"].high) == (
        pooled.measures.auc.low,
        pooled.measures.auc.high,
    )
    assert "r2" not in row.figures, "what was not measured is left out"
    assert "site-0" not in summary.model_dump_json()
    answer(store, "site-2", TABLE)
    results = collect_results(store)
    offline = [
        each.model_copy(update={"is_offline": each.site == "site-2"}) for each in results.validation
    ]
    [row] = summarise(results.model_copy(update={"validation": tuple(offline)})).rows
    assert row.n_sites == 2, "a table that was handed over in a file is in no pooled row"


def test_a_single_external_hospital_is_a_row_that_pools_nothing(results: Results) -> None:
    [external] = [row for row in results.validation if row.kind == "external"]
    assert external.status == "measured"
    summary = summarise(results)
    assert [(row.kind, row.n_sites) for row in summary.rows][:2] == [("internal", 3), ("external", 1)]
    row = summary.rows[1]
    assert (row.release_class, row.epsilon) == (external.release_class, external.epsilon)
    assert external.measures is not None
    assert row.figures["auc"].value == external.measures.auc.value
    assert external.site not in summary.model_dump_json()
    offline = external.model_copy(update={"is_offline": True})
    only = results.model_copy(update={"validation": (offline,)})
    assert summarise(only).rows == ()
