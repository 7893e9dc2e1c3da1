"""Tables of sites, read into results: figures by hand, the noise of a plan, pooled and missing ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from practice_plan import plan_of
from practice_release import keep_refusal
from practice_report import (
    BINS,
    NEGATIVE,
    NOISE,
    POSITIVE,
    STATISTICS,
    TABLE,
    answer,
    found_run,
    statistics_of,
)

from server.federation.compose import compose_settings
from server.report.expected import expected_of
from server.report.governed import pool_statistics, read_statistics
from server.report.pooling import pool_exact_aucs, pool_histograms
from server.report.results import ValidationResult
from server.report.validation import _figures, collect_validations, kind_of, pool_site_aucs
from server.run.folder import RunStore
from shared.contract.plan import Plan
from shared.measure.table.expected import expected_table
from shared.measure.table.reading import read_table
from shared.measure.table.spec import TableSpec, sensitivity, table_spec
from shared.sums.estimate import TOO_NOISY


def row(rows: tuple[ValidationResult, ...], site: str, kind: str = "internal") -> ValidationResult:
    [found] = [r for r in rows if (r.kind, r.site) == (kind, site)]
    return found


def expected(table: np.ndarray, store: RunStore, noise_sd: float, *sites: str) -> object:
    stage = store.plan.tables[0]
    entries = [store.plan.entry(site) for site in sites]
    return read_table(
        table,
        spec_of(store.plan),
        noise_sd=noise_sd,
        minimum_cell=stage.minimum_cell,
        sensitivity_target=stage.sensitivity_target,
        shown=expected_of(store.plan, stage, entries).shown,
    )


def spec_of(plan: Plan) -> TableSpec:
    return table_spec(plan.settings, plan.tables[0])


def test_a_noised_table_is_read_with_its_plans_noise_and_statistics_with_none(tmp_path: Path) -> None:
    governed, noised = found_run(tmp_path / "a"), found_run(tmp_path / "b", noise=NOISE)
    for store in (governed, noised):
        answer(store, "site-0", TABLE)
    exact, loud = (row(collect_validations(store), "site-0").measures for store in (governed, noised))
    target = governed.plan.tables[0].sensitivity_target
    vector = statistics_of(TABLE)
    assert exact == read_statistics(vector, STATISTICS, sensitivity_target=target)
    assert loud == expected(TABLE, noised, NOISE * sensitivity(spec_of(noised.plan)), "site-0")
    assert exact.auc.high - exact.auc.low < loud.auc.high - loud.auc.low
    # a count that was released exactly has no interval
    assert (exact.n_patients.low, exact.n_patients.high) == (300, 300)


def test_governed_statistics_of_three_sites_are_pooled(tmp_path: Path) -> None:
    store = found_run(tmp_path)
    sites = ("site-0", "site-1", "site-2")
    for site in sites:
        answer(store, site, TABLE)
    target = store.plan.tables[0].sensitivity_target
    vectors = [statistics_of(TABLE)] * len(sites)
    pooled = row(collect_validations(store), "pooled").measures
    assert pooled == pool_statistics(vectors, STATISTICS, sensitivity_target=target)
    assert pooled.n_patients.value == 900


def test_a_site_too_small_for_its_noise_shows_no_figure_whatever_came_out(tmp_path: Path) -> None:
    store = found_run(tmp_path, noise=NOISE, declared=(100, 3000, 3000))
    for site in ("site-0", "site-1"):
        answer(store, site, TABLE)
    rows = collect_validations(store)
    assert row(rows, "site-0").measures.auc == TOO_NOISY
    assert row(rows, "site-0").measures.n_patients.value == pytest.approx(300)
    assert row(rows, "site-1").measures.auc.value is not None
    assert row(rows, "pooled").measures.auc.value is not None, "its patients count there"


def test_noise_of_pooled_tables_adds_in_quadrature(tmp_path: Path) -> None:
    store = found_run(tmp_path, noise=NOISE)
    for site in ("site-0", "site-1"):
        answer(store, site, TABLE)
    sd = NOISE * sensitivity(spec_of(store.plan)) * 2**0.5
    pooled = row(collect_validations(store), "pooled")
    assert pooled.measures == expected(2 * TABLE, store, sd, "site-0", "site-1")
    assert pooled.is_pooled


def test_no_noised_table_says_how_well_no_training_does() -> None:
    """Where noise had taken the target's spread that R² was −6.86, with nothing beside it."""
    plan = plan_of(compose_settings(["fusion=linear"]), {"elm": 3000})
    stage, spec = plan.tables[0], spec_of(plan)
    sd, likely = stage.noise_of(1), expected_table(spec, n_patients=600.0)
    found = {"kind": "internal", "site": "elm", "status": "measured", "release_class": "dp"}
    figures = _figures(plan, stage, spec, likely, sd * sensitivity(spec), plan.roster)
    read = ValidationResult.model_validate(found | figures)
    assert read.measures.r2.value is not None
    assert read.untrained_r2 is None


def test_one_table_alone_is_not_pooled(tmp_path: Path) -> None:
    store = found_run(tmp_path)
    answer(store, "site-0", TABLE)
    answer(store, "site-1", None)
    keep_refusal(store, "internal", "site-2", "policy.purpose-forbidden")
    validation = collect_validations(store)
    assert [(r.site, r.status, r.code) for r in validation] == [
        ("site-0", "measured", ""),
        ("site-1", "not-applicable", ""),
        ("site-2", "missing", "policy.purpose-forbidden"),
    ]


def histograms(*tables: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of tables of this practice task: rising scores are rising suspicion, weights are 1."""
    return np.stack([t[:BINS] for t in tables]), np.stack([t[BINS : 2 * BINS] for t in tables])


FLATTER = np.concatenate([POSITIVE, NEGATIVE[::-1] / 4 + NEGATIVE])


def noise_of(store: RunStore) -> float:
    return NOISE * sensitivity(spec_of(store.plan))


def test_the_mean_of_sites_pools_their_internal_tables(tmp_path: Path) -> None:
    store = found_run(tmp_path, noise=NOISE)
    tables = {"site-0": TABLE, "site-1": FLATTER, "site-2": 2 * TABLE}
    for site, table in tables.items():
        answer(store, site, table)
    answer(store, "site-3", TABLE[::-1].copy(), kind="external")
    found, without = pool_site_aucs(store)
    assert found == pool_histograms(*histograms(*tables.values()), cell_sd=(noise_of(store),) * 2)
    assert 0.6 < found.value < 0.9
    assert without == {}, "two sites say nothing about a third"


def test_the_mean_of_governed_sites_pools_their_exact_aucs(tmp_path: Path) -> None:
    store = found_run(tmp_path)
    tables = [TABLE, FLATTER, 2 * TABLE]
    for number, table in enumerate(tables):
        answer(store, f"site-{number}", table)
    found, _ = pool_site_aucs(store)
    named = [STATISTICS.named(statistics_of(table)) for table in tables]
    auc, ill, n = (np.array([each[name] for each in named]) for name in ("auc", "n_positive", "n"))
    assert found == pool_exact_aucs(auc, ill, n - ill)


def test_of_four_sites_each_is_left_out_once(tmp_path: Path) -> None:
    four = {"n_sites": 4, "weights_of_sites": (0.25,) * 4, "declared": (3000,) * 4}
    store = found_run(tmp_path, noise=NOISE, **four)
    tables = dict(zip((f"site-{n}" for n in range(4)), (TABLE, FLATTER, 2 * TABLE, TABLE), strict=True))
    for site, table in tables.items():
        answer(store, site, table)
    _, without = pool_site_aucs(store)
    assert set(without) == set(tables)
    rest = [table for site, table in tables.items() if site != "site-1"]
    assert without["site-1"] == pool_histograms(*histograms(*rest), cell_sd=(noise_of(store),) * 2)
    assert without["site-1"].value > without["site-0"].value, "the flat one is not in it"


def test_each_set_of_sites_is_shown_by_what_was_expected_of_it_alone(tmp_path: Path) -> None:
    four = {"n_sites": 4, "weights_of_sites": (0.25,) * 4, "declared": (9000, 120, 120, 120)}
    store = found_run(tmp_path, noise=NOISE, **four)
    for number in range(4):
        answer(store, f"site-{number}", TABLE)
    found, without = pool_site_aucs(store)
    assert found is not None
    assert set(without) == {"site-1", "site-2", "site-3"}, "three small ones say nothing by themselves"


def test_two_sites_have_no_mean(tmp_path: Path) -> None:
    store = found_run(tmp_path)
    for site in ("site-0", "site-1"):
        answer(store, site, TABLE)
    assert pool_site_aucs(store) == (None, {})


def test_the_noise_of_a_plan_widens_the_mean_of_sites(tmp_path: Path) -> None:
    governed, noised = found_run(tmp_path / "a"), found_run(tmp_path / "b", noise=NOISE)
    widths = []
    for store in (governed, noised):
        for site in ("site-0", "site-1", "site-2"):
            answer(store, site, TABLE)
        found, _ = pool_site_aucs(store)
        widths.append(found.high - found.low)
    assert widths[1] > 1.2 * widths[0]


def test_what_a_validation_is_follows_from_its_patients_and_not_from_its_name(tmp_path: Path) -> None:
    internal, external, prospective = found_run(tmp_path).plan.tables
    assert kind_of(internal.model_copy(update={"name": "anything"})) == "internal"
    assert kind_of(external) == "external"
    assert kind_of(prospective) == "prospective"
