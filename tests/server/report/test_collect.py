"""What a run folder says, read into results: figures by hand, the noise of a plan, who was missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import practice_federation as practice
import pytest
from practice_release import finish_run, keep_refusal, keep_total

from server.report.collect import collect_results
from server.report.plan_facts import plan_facts
from server.report.results import Results
from server.run.folder import RunStore
from shared.contract.plan import Plan, write_plan
from shared.contract.settings import Settings
from shared.contract.stages import TableStage
from shared.errors import WeightsError
from shared.measure.pooling import pool_aucs
from shared.measure.table.reading import read_table
from shared.measure.table.rows import TableSpec, sensitivity, table_spec
from shared.privacy.accountant import gaussian_epsilon
from shared.privacy.cost import predict_cost
from shared.signing.keys import load_key

BINS = 12
NOISE = 4.0
EPSILON = gaussian_epsilon(1 / NOISE, 1e-5)
# positives lean to the high bins, negatives to the low ones; sums of 60 and 240
POSITIVE = np.array([1, 1, 2, 2, 3, 3, 4, 6, 8, 9, 10, 11], dtype=float)
NEGATIVE = np.array([40, 36, 32, 28, 24, 20, 18, 14, 10, 8, 6, 4], dtype=float)
TABLE = np.concatenate([POSITIVE, NEGATIVE])


def settings_of(release_class: str) -> Settings:
    plain = practice.practice_settings()
    validation = plain.validation.model_copy(update={"release_class": release_class})
    return plain.model_copy(update={"validation": validation})


def found(home: Path, *, noise: float | None = None, **options: object) -> RunStore:
    """A finished run of three training sites and an external one; ``noise`` as its plan says."""
    store, _ = practice.found_federation(
        home,
        settings=settings_of("governed" if noise is None else "dp"),
        n_sites=3,
        n_external=1,
        weights_of_sites=(0.5, 0.3, 0.2),
        **options,
    )
    if noise is not None:
        louder = {"noise_multipliers": (noise,)}
        stages = [
            stage.model_copy(update=louder) if isinstance(stage, TableStage) else stage
            for stage in store.plan.stages
        ]
        predicted = predict_cost(stages, delta=store.plan.settings.delta)
        changed = {"stages": stages, "predicted": predicted}
        plan = Plan.model_validate(store.plan.model_dump() | changed)
        key = load_key(store.home / "keys" / "coordinator.pem")
        (store.folder / "plan.json").unlink()
        write_plan(store.folder / "plan.json", plan, key)
        store = RunStore(store.folder, plan)
    return store


def answer(store: RunStore, site: str, table: np.ndarray | None, kind: str = "internal") -> None:
    """Keep a site's table, or that it has nobody to measure."""
    if table is None:
        keep_total(store, kind, site, np.zeros(0), status="not-applicable")
    else:
        keep_total(store, kind, site, table)


def row(results: Results, site: str, kind: str = "internal") -> object:
    [found] = [r for r in results.validation if (r.kind, r.site) == (kind, site)]
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


def test_an_exact_table_is_read_with_no_noise_and_a_noised_one_with_its_plans(tmp_path: Path) -> None:
    governed, noised = found(tmp_path / "a"), found(tmp_path / "b", noise=NOISE)
    widths = []
    for store, sd in ((governed, 0.0), (noised, NOISE * sensitivity(spec_of(noised.plan)))):
        finish_run(store)
        answer(store, "site-0", TABLE)
        measures = row(collect_results(store), "site-0").measures
        assert measures == expected(TABLE, store, sd)
        widths.append(measures.auc.high - measures.auc.low)
        if sd == 0:
            # a count that was released exactly has no interval
            assert (measures.n_patients.low, measures.n_patients.high) == (300, 300)
    assert widths[0] < widths[1]


def test_noise_of_pooled_tables_adds_in_quadrature(tmp_path: Path) -> None:
    store = found(tmp_path, noise=NOISE)
    finish_run(store)
    for site in ("site-0", "site-1"):
        answer(store, site, TABLE)
    sd = NOISE * sensitivity(spec_of(store.plan)) * 2**0.5
    pooled = row(collect_results(store), "pooled")
    assert pooled.measures == expected(2 * TABLE, store, sd)
    assert pooled.is_pooled


def test_one_table_alone_is_not_pooled(tmp_path: Path) -> None:
    store = found(tmp_path)
    finish_run(store)
    answer(store, "site-0", TABLE)
    answer(store, "site-1", None)
    keep_refusal(store, "internal", "site-2", "policy.purpose-forbidden")
    validation = collect_results(store).validation
    assert [(r.site, r.status, r.code) for r in validation] == [
        ("site-0", "measured", ""),
        ("site-1", "not-applicable", ""),
        ("site-2", "missing", "policy.purpose-forbidden"),
    ]


def test_the_sites_auc_pools_those_that_gave_one_and_only_internal_ones(tmp_path: Path) -> None:
    store = found(tmp_path)
    finish_run(store)
    flatter = np.concatenate([POSITIVE, NEGATIVE[::-1] / 4 + NEGATIVE])
    nobody_ill = np.concatenate([np.zeros(BINS), NEGATIVE])
    for site, table in (("site-0", TABLE), ("site-1", flatter), ("site-2", nobody_ill)):
        answer(store, site, table)
    answer(store, "site-3", TABLE, kind="external")
    results = collect_results(store)
    assert row(results, "site-2").measures.auc.value is None, "no positives, no AUC"
    given = [row(results, site).measures.auc for site in ("site-0", "site-1")]
    variances = [((auc.high - auc.low) / 2 / 1.959964) ** 2 for auc in given]
    assert results.site_auc == pool_aucs([auc.value for auc in given], variances)
    assert 0.6 < results.site_auc.value < 0.9


@pytest.mark.parametrize("second", [None, "perfect", "missing"])
def test_sites_without_an_auc_leave_no_pooled_auc_instead_of_a_guessed_one(
    tmp_path: Path, second: str | None
) -> None:
    store = found(tmp_path)
    finish_run(store)
    answer(store, "site-0", TABLE)
    if second == "perfect":
        # an AUC of exactly 1 has no logit
        split = np.zeros(2 * BINS)
        split[BINS - 1], split[BINS] = 60, 240
        answer(store, "site-1", split)
        assert row(collect_results(store), "site-1").measures.auc.value == 1.0
    if second == "missing":
        answer(store, "site-1", np.concatenate([np.zeros(BINS), NEGATIVE]))
    assert collect_results(store).site_auc is None


def test_rounds_name_who_took_part_with_what_weight_and_who_did_not_and_why(tmp_path: Path) -> None:
    store = found(tmp_path)
    finish_run(store, absent={2: {"site-1": "engine.no-reply"}})
    results = collect_results(store)
    assert [r.round for r in results.rounds] == [1, 2, 3]
    assert [r.took_part for r in results.rounds[:2]] == [
        ("site-0", "site-1", "site-2"),
        ("site-0", "site-2"),
    ]
    assert [r.weight_share for r in results.rounds] == pytest.approx([1.0, 0.7, 1.0])
    [missing] = results.rounds[1].missing
    assert (missing.site, missing.code) == ("site-1", "engine.no-reply")
    assert [site.rounds_took_part for site in results.sites] == [3, 2, 3, 0]


def test_bytes_are_those_of_updates_and_tables(tmp_path: Path) -> None:
    store = found(tmp_path, encoder=b"x" * 1000)
    finish_run(store)
    answer(store, "site-0", TABLE)
    first, second, *_ = collect_results(store).sites
    # 6 float32 a round, 24 float64 of a table; received: encoder, weights per round and per table
    assert (first.bytes_sent, first.bytes_received) == (3 * 24 + 24 * 8, 1000 + (3 + 1) * 24)
    assert (second.bytes_sent, second.bytes_received) == (3 * 24, 1000 + 3 * 24)


def test_durations_are_the_time_between_the_events(tmp_path: Path) -> None:
    store = found(tmp_path)
    finish_run(store)
    lines = [
        {"utc": "2026-01-01T00:00:00+00:00", "round": 0, "site": "site-0", "code": "run.site-offline"},
        {"utc": "2026-01-01T00:00:10+00:00", "round": 1, "site": "", "code": "round-committed"},
        {"utc": "2026-01-01T00:00:15+00:00", "round": 2, "site": "", "code": "round-committed"},
        {"utc": "2026-01-01T00:00:45+00:00", "round": 3, "site": "", "code": "round-committed"},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (store.folder / "events.jsonl").write_text(text + '{"utc": "2026-01-01T0')  # torn by a crash
    results = collect_results(store)
    assert [r.duration_s for r in results.rounds] == [10, 5, 30]
    assert results.duration_s == 45
    assert results.started_utc.startswith("2026-01-01T00:00:00")


def test_a_run_without_a_release_has_no_results(tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        collect_results(found(tmp_path))


def test_a_run_without_privacy_promises_nothing_to_anybody(tmp_path: Path) -> None:
    store = found(tmp_path)
    finish_run(store)
    for promise in collect_results(store).privacy:
        assert (promise.mode, promise.training_epsilon, promise.run_epsilon) == ("off", None, None)
    facts = plan_facts(store.plan)
    assert facts["epsilon, training patient"] == "no formal privacy guarantee"
    assert str(facts["epsilon, validation patient"]).startswith("governed")


def test_an_external_site_has_no_part_in_training_and_pays_for_its_table(tmp_path: Path) -> None:
    store = found(tmp_path, noise=NOISE)
    finish_run(store)
    outside = collect_results(store).privacy[-1]
    assert (outside.mode, outside.training_epsilon) == ("patient_dp", 0.0)
    assert outside.run_epsilon > 0
    assert outside.statement == "no part in training"


def test_plan_facts_are_the_plans(tmp_path: Path) -> None:
    store = found(tmp_path, noise=NOISE)
    facts = plan_facts(store.plan)
    assert facts["rounds × steps"] == "3 × 1 = 3 steps"
    assert facts["model"] == "none + clinical_only"
    assert facts["folded at"] == "site"
    assert facts["epsilon, validation patient"] == pytest.approx(EPSILON, abs=1e-6)
    assert facts["epsilon, description"] == "none is released"
