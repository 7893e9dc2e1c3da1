"""Two runs beside each other: differences of their pooled AUCs by hand, p-values adjusted together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from server.report.compare import COLUMNS, compare_runs, facts_of, rows_of, shared_sites
from server.report.results import Results
from shared.errors import RunError
from shared.sums.estimate import TOO_NOISY, Estimate

OTHER = {"run": "other", "release_sha256": "ff" * 32}


def with_aucs(results: Results, aucs: dict[str, Estimate], **changes: object) -> Results:
    """The same run with other AUCs of all sites together, by kind of validation."""
    rows = []
    for row in results.validation:
        is_all = row.is_pooled or row.kind == "external"
        measures = row.measures
        if measures is not None and is_all and row.kind in aucs:
            measures = replace(measures, auc=aucs[row.kind])
        rows.append(row.model_copy(update={"measures": measures}))
    return results.model_copy(update={"validation": tuple(rows)} | changes)


def auc(value: float, half: float) -> Estimate:
    return Estimate(status="measured", value=value, low=value - half, high=value + half)


def test_the_difference_has_the_width_of_both_intervals_together(results: Results) -> None:
    one = with_aucs(results, {"internal": auc(0.9, 0.03), "external": auc(0.8, 0.06)})
    two = with_aucs(results, {"internal": auc(0.85, 0.04), "external": auc(0.8, 0.08)}, **OTHER)
    internal, external = compare_runs(one, two)
    assert (internal.kind, external.kind) == ("internal", "external")
    assert internal.difference.value == pytest.approx(0.05)
    assert internal.difference.low == pytest.approx(0.0)
    assert internal.difference.high == pytest.approx(0.1)
    # z is 1.96: p .05, of two tried together .1
    assert (internal.p, internal.p_adjusted) == (pytest.approx(0.05), pytest.approx(0.1))
    assert (external.p, external.p_adjusted) == (1.0, 1.0)
    rows = rows_of((internal, external))
    assert len(rows[0]) == len(COLUMNS)
    assert rows[0][3] == "0.05 (0.00 to 0.10)"
    assert facts_of((internal,))[0]["difference"]["value"] == pytest.approx(0.05)  # type: ignore[index]


def test_what_one_run_does_not_show_is_not_compared(results: Results) -> None:
    one = with_aucs(results, {"internal": auc(0.9, 0.03), "external": auc(0.8, 0.06)})
    two = with_aucs(results, {"internal": auc(0.9, 0.03), "external": TOO_NOISY}, **OTHER)
    [internal] = compare_runs(one, two)
    assert internal.kind == "internal"
    assert internal.p_adjusted == internal.p == 1.0
    nothing = with_aucs(results, {"internal": TOO_NOISY, "external": TOO_NOISY}, **OTHER)
    with pytest.raises(RunError) as caught:
        compare_runs(one, nothing)
    assert caught.value.code == "run.nothing-to-compare"


def test_runs_of_different_endpoints_are_refused(results: Results) -> None:
    task = results.task.model_copy(update={"endpoint_rule": "BMD ≤ 0.7 g/cm2"})
    with pytest.raises(RunError) as caught:
        compare_runs(results, results.model_copy(update={"task": task} | OTHER))
    assert caught.value.code == "run.different-endpoints"


def test_one_release_is_not_compared_with_itself_and_hospitals_of_both_runs_are_named(
    results: Results,
) -> None:
    with pytest.raises(RunError) as caught:
        compare_runs(results, results.model_copy(update={"run": "again"}))
    assert caught.value.code == "run.same-release"
    fewer = results.model_copy(update={"sites": results.sites[:2]})
    assert shared_sites(results, fewer) == tuple(sorted(site.site for site in results.sites[:2]))


def test_an_interval_that_ends_at_1_stands_for_its_wider_side(results: Results) -> None:
    cut = Estimate(status="measured", value=0.98, low=0.90, high=1.0)
    [found] = compare_runs(
        with_aucs(results, {"internal": cut, "external": TOO_NOISY}),
        with_aucs(results, {"internal": auc(0.9, 0.06), "external": TOO_NOISY}, **OTHER),
    )
    assert found.difference.value - found.difference.low == pytest.approx(0.1)  # √(.08² + .06²)
