"""What a run folder says, read into results: who took part, what was sent, what was promised."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from practice_plan import plan_of, with_training
from practice_release import finish_run
from practice_report import NOISE, TABLE, answer, found_run
from practice_site import make_charge

from client.gate.ledger import Ledger
from server.federation.compose import compose_settings
from server.report.collect import _privacy, _task, collect_results
from server.report.curves import collect_curves
from server.report.further import collect_further
from server.report.validation import pool_site_aucs
from server.run.amendments import drop_site
from server.run.release import lock_run
from shared.contract.release import read_release
from shared.errors import WeightsError
from shared.privacy.cost import NOT_TRAINED
from shared.privacy.filter import Allowance
from shared.signing.keys import load_key


def test_rounds_name_who_took_part_with_what_weight_and_who_did_not_and_why(tmp_path: Path) -> None:
    store = found_run(tmp_path)
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
    store = found_run(tmp_path, encoder=b"x" * 1000)
    finish_run(store)
    answer(store, "site-0", TABLE)
    first, second, *_ = collect_results(store).sites
    # 6 float32 a round, 9 float64 of statistics; received: encoder, weights per round and per table
    assert (first.bytes_sent, first.bytes_received) == (3 * 24 + 9 * 8, 1000 + (3 + 1) * 24)
    assert (second.bytes_sent, second.bytes_received) == (3 * 24, 1000 + 3 * 24)


def test_what_a_rounds_total_was_follows_from_the_plan_and_the_replies(tmp_path: Path) -> None:
    store = found_run(tmp_path)
    finish_run(store)
    told = collect_results(store).training
    # 6 weights in each of 3 rounds
    assert (told.total, told.combined, told.lengths) == ("changes", "shares", (6, 6, 6))


def test_durations_are_the_time_between_the_events(tmp_path: Path) -> None:
    store = found_run(tmp_path)
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
        collect_results(found_run(tmp_path))


def test_a_run_without_privacy_promises_nothing_to_anybody(tmp_path: Path) -> None:
    store = found_run(tmp_path)
    finish_run(store)
    for promise in collect_results(store).privacy:
        assert (promise.mode, promise.training_epsilon, promise.run_epsilon) == ("off", None, None)


def test_an_external_site_has_no_part_in_training_and_pays_for_its_table(tmp_path: Path) -> None:
    store = found_run(tmp_path, noise=NOISE)
    finish_run(store)
    outside = collect_results(store).privacy[-1]
    assert (outside.mode, outside.training_epsilon) == ("patient_dp", 0.0)
    assert outside.run_epsilon > 0
    assert outside.statement == "no part in training"


def test_what_a_ledger_says_of_a_lifetime_is_reported_of_its_site_alone(tmp_path: Path) -> None:
    store = found_run(tmp_path, noise=NOISE)
    finish_run(store)
    ledger = Ledger(
        tmp_path / "ledger",
        site="site-3",
        key=load_key(store.home / "sites" / "site-3" / "keys" / "site.pem"),
        clock=lambda: datetime(2026, 1, 1, tzinfo=UTC),
    )
    allowance = Allowance(epsilon_lifetime=9.0, epsilon_per_run=3.0, delta=1e-5)
    ledger.charge(make_charge(), members=["a" * 32], allowance=allowance)
    ledger.export(tmp_path / "ledger.json", allowance=allowance)
    *_, silent, told = collect_results(store, ledgers=[tmp_path / "ledger.json"]).privacy
    budget = ledger.budget_of_everybody(allowance=allowance)
    assert 0 < budget.epsilon_spent < 3
    assert told.lifetime_epsilon == budget.epsilon_spent
    assert told.left_epsilon == 9.0 - budget.epsilon_spent
    assert told.cap_epsilon == 9.0
    assert (silent.lifetime_epsilon, silent.left_epsilon, silent.cap_epsilon) == (None, None, None)


def test_results_hold_every_part_of_a_run(tmp_path: Path) -> None:
    store = found_run(tmp_path)
    finish_run(store)
    for site in ("site-0", "site-1", "site-2"):
        answer(store, site, TABLE)
    open_run = collect_results(store)
    assert open_run.lock_sha256 is None
    lock = lock_run(
        store,
        load_key(store.home / "keys" / "coordinator.pem"),
        now=datetime(2026, 1, 5, tzinfo=UTC),
        days=30,
    )
    results = collect_results(store)
    release = read_release(store.release_folder, coordinator_key=store.plan.coordinator_key)
    assert (results.run, results.experiment) == ("practice", "practice")
    assert (results.plan_sha256, results.code_sha256) == (store.plan.sha256, store.plan.code_sha256)
    assert (results.release_sha256, results.lock_sha256) == (release.sha256, lock.sha256)
    assert results.is_synthetic == store.plan.settings.is_synthetic is False
    assert [row.site for row in results.validation] == ["site-0", "site-1", "site-2", "pooled"]
    assert results.further == collect_further(store) != ()
    assert results.curves == collect_curves(store)
    # three equal tables: the mean is theirs, and of two there is none
    pooled, without = pool_site_aucs(store)
    assert results.site_auc == pooled is not None
    assert results.site_auc_without == without
    assert results.limits
    assert results.description == ()


def test_a_site_that_was_dropped_is_named_first_with_the_day_and_the_reason(tmp_path: Path) -> None:
    store = found_run(tmp_path)
    finish_run(store)
    key = load_key(store.home / "keys" / "coordinator.pem")
    site = store.plan.roster[0].site
    drop_site(store, site, reason="it left", key=key, now=datetime(2026, 1, 5, tzinfo=UTC))
    told = collect_results(store).limits[0]
    assert told.startswith(f"{site} was dropped from this run on 2026-01-05 by a signed amendment")
    assert told.endswith("with the reason: it left")


def test_a_task_is_told_in_a_readers_words(tmp_path: Path) -> None:
    plan = found_run(tmp_path).plan
    task = _task(plan)
    assert (task.kind, task.target, task.target_unit) == ("classification", "y", "")
    assert (task.endpoint, task.endpoint_rule) == ("yes", "class yes")
    assert task.sensitivity_target == plan.tables[0].sensitivity_target
    bmd = _task(plan_of(compose_settings(["fusion=linear"]), {"elm": 100}))
    settings = compose_settings(["fusion=linear"])
    assert (bmd.target, bmd.target_unit) == ("femoral neck BMD", settings.task.target_unit)
    limit = settings.task.endpoint_threshold
    assert not task.is_graded
    assert not bmd.is_graded
    assert bmd.endpoint_rule == f"femoral neck BMD ≤ {limit:g} {settings.task.target_unit}"
    noised, exact = (
        _task(plan_of(compose_settings(["task=bmd_classes", *more]), {"elm": 100}))
        for more in ([], ["validation.release_class=governed"])
    )
    assert (noised.is_graded, exact.is_graded) == (True, False), "statistics are of probabilities"
    measured = plan.model_copy(update={"stages": (plan.stages[0],)})
    assert _task(measured).sensitivity_target == 0.0, "nothing is promised where nothing is measured"


def test_each_site_is_told_by_its_entry_on_the_roster(tmp_path: Path) -> None:
    store = found_run(tmp_path)
    finish_run(store)
    results = collect_results(store)
    for site, entry in zip(results.sites, store.plan.roster, strict=True):
        told = (site.site, site.role, site.is_required, site.declared_patients, site.weight)
        assert told == (
            *(entry.site, entry.role, entry.is_required, entry.declared_patients, entry.weight),
        )
    assert [row.asked for row in results.rounds] == [("site-0", "site-1", "site-2")] * 3


def test_a_site_that_trains_is_promised_what_the_plan_predicts(tmp_path: Path) -> None:
    plan = with_training(found_run(tmp_path, noise=NOISE).plan)
    predicted = plan.predicted.model_copy(update={"training_epsilon": 2.5})
    plan = plan.model_copy(update={"predicted": predicted})
    trains, external = plan.roster[0], plan.roster[-1]
    promise = _privacy(plan, trains, None)
    assert (promise.mode, promise.training_epsilon) == ("patient_dp", 2.5)
    assert promise.run_epsilon == predicted.dearest("training")
    assert promise.mechanism == predicted.mechanism
    assert (promise.accountant, promise.delta) == (predicted.accountant, predicted.delta)
    assert _privacy(plan, external, None).mechanism == NOT_TRAINED


def test_a_site_that_sent_exact_figures_and_did_not_train_has_no_epsilon_and_no_noise(
    tmp_path: Path,
) -> None:
    plan = found_run(tmp_path).plan  # its validation is governed
    predicted = plan.predicted.model_copy(update={"training_epsilon": 3.0})
    plan = plan.model_copy(update={"predicted": predicted})
    promise = _privacy(plan, plan.roster[-1], None)
    assert plan.roster[-1].role == "external"
    assert (promise.mode, promise.training_epsilon, promise.run_epsilon) == ("patient_dp", 0.0, None)
    assert promise.mechanism == "none in training; exact figures without a formal privacy guarantee"
    assert promise.left_epsilon is None
