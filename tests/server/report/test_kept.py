"""What a robust rule kept of a hospital is read from the journal: the bad one is named, no other is."""

from __future__ import annotations

from pathlib import Path

import practice_federation as practice
import pytest
from faulty_grid import Fault, run_with_faults
from practice_commands import Coordinator

from server.report.collect import collect_results
from server.report.kept import kept_by_rule, write_kept
from server.report.page import render_page
from server.run.folder import RunStore

SIZES = (100, 50, 400, 200, 100)


def found_run(folder: Path, rule: str, fold: str, *, missing: bool = False) -> RunStore:
    """Five sites in two rounds; in the second site-4 sends ten times its own, and site-0 no number."""
    settings = practice.practice_settings(
        rounds=2, strategy={"name": rule}, federation={"fold": fold, "quorum": 0.8}
    )
    store, folders = practice.found_federation(folder, settings=settings, n_sites=5, declared=SIZES)
    faults = [Fault(site="site-4", round=2, kind="scaled")]
    if missing:
        faults.append(Fault(site="site-0", round=2, kind="corrupt-nan"))
    run_with_faults(store.folder, folders, client_app=practice.app, faults=faults)
    return store


@pytest.mark.parametrize("fold", ["site", "coordinator"])
def test_of_a_median_the_middle_hospital_is_kept_and_of_a_scaled_one_nothing(
    tmp_path: Path, fold: str
) -> None:
    # site k pulls towards k, by declared patient alike: the middle one is the median of all numbers
    kept = kept_by_rule(found_run(tmp_path, "median", fold))
    assert kept == pytest.approx(
        {"site-2": 5.0} | dict.fromkeys(["site-0", "site-1"], 0.0) | {"site-3": 0.0, "site-4": 0.0}
    )


def test_a_trimmed_mean_keeps_the_three_in_the_middle_alike(tmp_path: Path) -> None:
    kept = kept_by_rule(found_run(tmp_path, "trimmed_mean", "coordinator"))
    assert list(kept) == [f"site-{number}" for number in range(5)]
    assert list(kept.values()) == pytest.approx([0, 5 / 3, 5 / 3, 5 / 3, 0])


def test_shares_are_over_an_equal_one_of_those_present(tmp_path: Path) -> None:
    store = found_run(tmp_path, "geometric_median", "site", missing=True)
    kept = kept_by_rule(store)
    assert store.training.committed(2).missing == {"site-0": "protocol.not-finite"}
    assert set(kept) == {f"site-{number}" for number in range(5)}
    assert kept["site-4"] < min(kept[site] for site in ("site-1", "site-2", "site-3"))


def test_where_a_mean_is_taken_nobody_is_said_to_be_left_out(tmp_path: Path) -> None:
    assert kept_by_rule(found_run(tmp_path, "fedavg", "site")) == {}


def test_report_and_status_name_who_was_left_out_and_who_was_refused(tmp_path: Path) -> None:
    store = found_run(tmp_path, "trimmed_mean", "site", missing=True)
    practice.release_of(store)
    results = collect_results(store)
    told = {site.site: site.kept for site in results.sites}
    assert told == kept_by_rule(store)
    page = render_page(results)
    assert "Kept by the rule, of an equal share" in page
    assert page.count("mostly left out") == sum(kept < 0.5 for kept in told.values()) > 0
    assert "protocol.not-finite" in page
    coordinator = Coordinator(tmp_path, {})
    status = coordinator.told("status", "practice")
    assert status["kept"] == pytest.approx(told)
    assert status["events"] == [[2, "site-0", "protocol.not-finite"]]
    shown = coordinator.type("status", "practice").stdout
    assert "mostly left out" in shown


@pytest.mark.parametrize(
    ("kept", "words"),
    [(None, "–"), (1.0, "1.00"), (0.5, "0.50"), (0.499, "0.50, mostly left out")],
)
def test_a_kept_share_is_written_with_what_it_means(kept: float | None, words: str) -> None:
    assert write_kept(kept) == words
