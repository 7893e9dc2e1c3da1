"""Tables of sites, read into results: figures by hand, the noise of a plan, pooled and missing ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
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

from server.report.governed import pool_statistics, read_statistics
from server.report.pooling import pool_aucs
from server.report.results import ValidationResult
from server.report.validation import collect_validations, kind_of, pool_site_aucs
from server.run.folder import RunStore
from shared.contract.plan import Plan
from shared.measure.table.reading import read_table
from shared.measure.table.rows import TableSpec, sensitivity, table_spec


def row(rows: tuple[ValidationResult, ...], site: str, kind: str = "internal") -> ValidationResult:
    [found] = [r for r in rows if (r.kind, r.site) == (kind, site)]
    return found


def expected(table: np.ndarray, store: RunStore, noise_sd: float) -> object:
    stage = store.plan.tables[0]
    return read_table(
        table,
        spec_of(store.plan),
        noise_sd=noise_sd,
        minimum_cell=stage.minimum_cell,
        sensitivity_target=stage.sensitivity_target,
    )


def spec_of(plan: Plan) -> TableSpec:
    return table_spec(plan.settings.task, plan.tables[0])


def test_a_noised_table_is_read_with_its_plans_noise_and_statistics_with_none(tmp_path: Path) -> None:
    governed, noised = found_run(tmp_path / "a"), found_run(tmp_path / "b", noise=NOISE)
    for store in (governed, noised):
        answer(store, "site-0", TABLE)
    exact, loud = (row(collect_validations(store), "site-0").measures for store in (governed, noised))
    target = governed.plan.tables[0].sensitivity_target
    vector = statistics_of(TABLE)
    assert exact == read_statistics(vector, STATISTICS, sensitivity_target=target)
    assert loud == expected(TABLE, noised, NOISE * sensitivity(spec_of(noised.plan)))
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


def test_noise_of_pooled_tables_adds_in_quadrature(tmp_path: Path) -> None:
    store = found_run(tmp_path, noise=NOISE)
    for site in ("site-0", "site-1"):
        answer(store, site, TABLE)
    sd = NOISE * sensitivity(spec_of(store.plan)) * 2**0.5
    pooled = row(collect_validations(store), "pooled")
    assert pooled.measures == expected(2 * TABLE, store, sd)
    assert pooled.is_pooled


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


def test_the_sites_auc_pools_those_that_gave_one_and_only_internal_ones(tmp_path: Path) -> None:
    store = found_run(tmp_path)
    flatter = np.concatenate([POSITIVE, NEGATIVE[::-1] / 4 + NEGATIVE])
    nobody_ill = np.concatenate([np.zeros(BINS), NEGATIVE])  # no AUC
    for site, table in (("site-0", TABLE), ("site-1", flatter), ("site-2", nobody_ill)):
        answer(store, site, table)
    answer(store, "site-3", TABLE, kind="external")
    rows = collect_validations(store)
    assert row(rows, "site-2").measures.auc.value is None, "no positives, no AUC"
    given = [row(rows, site).measures.auc for site in ("site-0", "site-1")]
    variances = [((auc.high - auc.low) / 2 / 1.959964) ** 2 for auc in given]
    assert pool_site_aucs(rows) == pool_aucs([auc.value for auc in given], variances)
    assert 0.6 < pool_site_aucs(rows).value < 0.9


@pytest.mark.parametrize("second", [None, "perfect", "missing"])
def test_sites_without_an_auc_leave_no_pooled_auc_instead_of_a_guessed_one(
    tmp_path: Path, second: str | None
) -> None:
    store = found_run(tmp_path)
    answer(store, "site-0", TABLE)
    if second == "perfect":
        # an AUC of exactly 1 has no logit
        split = np.zeros(2 * BINS)
        split[BINS - 1], split[BINS] = 60, 240
        answer(store, "site-1", split)
        assert row(collect_validations(store), "site-1").measures.auc.value == 1.0
    if second == "missing":
        answer(store, "site-1", np.concatenate([np.zeros(BINS), NEGATIVE]))
    assert pool_site_aucs(collect_validations(store)) is None


def test_what_a_validation_is_follows_from_its_patients_and_not_from_its_name(tmp_path: Path) -> None:
    internal, external, prospective = found_run(tmp_path).plan.tables
    assert kind_of(internal.model_copy(update={"name": "anything"})) == "internal"
    assert kind_of(external) == "external"
    assert kind_of(prospective) == "prospective"
