"""Tables of sites, read into results: figures by hand, the noise of a plan, pooled and missing ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from practice_release import keep_refusal
from practice_report import BINS, NEGATIVE, NOISE, POSITIVE, TABLE, answer, found_run

from server.report.expected import expected_of
from server.report.pooling import pool_aucs
from server.report.results import ValidationResult
from server.report.validation import collect_validations, kind_of, pool_site_aucs
from server.run.folder import RunStore
from shared.contract.plan import Plan
from shared.measure.table.reading import read_table
from shared.measure.table.rows import TableSpec, sensitivity, table_spec
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
    return table_spec(plan.settings.task, plan.tables[0])


def test_an_exact_table_is_read_with_no_noise_and_a_noised_one_with_its_plans(tmp_path: Path) -> None:
    governed, noised = found_run(tmp_path / "a"), found_run(tmp_path / "b", noise=NOISE)
    widths = []
    for store, sd in ((governed, 0.0), (noised, NOISE * sensitivity(spec_of(noised.plan)))):
        answer(store, "site-0", TABLE)
        measures = row(collect_validations(store), "site-0").measures
        assert measures == expected(TABLE, store, sd, "site-0")
        widths.append(measures.auc.high - measures.auc.low)
        if sd == 0:
            # a count that was released exactly has no interval
            assert (measures.n_patients.low, measures.n_patients.high) == (300, 300)
    assert widths[0] < widths[1]


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
    nobody_ill = np.concatenate([np.zeros(BINS), NEGATIVE])
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
