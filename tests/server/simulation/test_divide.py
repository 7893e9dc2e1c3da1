"""Divisions: the first is the cohort's own, others are drawn by the seed, nobody is on two sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
from practice_patients import practice_patients

from client.cohort.split import SplitCase
from client.site.linkage import PatientKey
from server.federation.compose import compose_settings
from server.federation.folder import Enrolled
from server.federation.plan import draft_plan
from server.simulation import divide
from server.simulation.arms import Arm, Trained
from server.simulation.divide import Ward, measure_division
from shared.contract.plan import Plan
from shared.contract.settings import Settings
from shared.errors import RunError
from shared.exam.schema import Split, SplitRule
from shared.measures.scored import Scored
from shared.train.patients import PatientBatch

RULE = SplitRule(train=0.6, tune=0.1, internal=0.3)
N = 60


def ward(site: str, splits: tuple[Split, ...] | None = None) -> Ward:
    """People whose target is their place, so that they can be told apart."""
    batch = practice_patients(N)
    batch = replace(batch, target=torch.arange(N).float()[:, None].expand_as(batch.target).clone())
    cases = {PatientKey(f"{site}-{number:03d}"): SplitCase() for number in range(N)}
    return Ward(site, cases, batch, splits or ("train",) * 40 + ("internal",) * 20)


def members(found: PatientBatch) -> list[int]:
    return [int(place) for place in found.target[:, 0]]


def test_the_first_division_is_the_cohorts_own() -> None:
    ash = ward("ash")
    assert members(ash.of_split("train", 1, seed=9, rule=RULE)) == list(range(40))
    assert members(ash.of_split("internal", 1, seed=9, rule=RULE)) == list(range(40, 60))


def test_a_further_division_follows_seed_site_and_number_and_puts_nobody_on_two_sides() -> None:
    def drawn(site: str, number: int, seed: int) -> dict[str, list[int]]:
        return {
            split: members(ward(site).of_split(split, number, seed=seed, rule=RULE))
            for split in ("train", "tune", "internal")
        }

    second = drawn("ash", 2, 1)
    assert second == drawn("ash", 2, 1)
    assert second not in (drawn("ash", 3, 1), drawn("ash", 2, 2), drawn("elm", 2, 1))
    assert sorted(place for part in second.values() for place in part) == list(range(N))
    assert 24 <= len(second["train"]) <= 48


@pytest.fixture
def plan() -> Plan:
    sites = [
        Enrolled(site=site, public_key="0" * 64, declared_patients=40, role=role, enrolled_utc="")
        for site, role in (("ash", "training"), ("elm", "training"), ("hop", "external"))
    ]
    return draft_plan(
        settings_of(),
        sites,
        run="simulation",
        coordinator_key="0" * 64,
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )


def settings_of() -> Settings:
    return compose_settings(["encoder=none", "fusion=clinical_only", "privacy=off"])


def test_all_arms_train_on_one_side_and_are_measured_on_the_other(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Mapping[str, PatientBatch]] = []
    measured: dict[str, list[list[int]]] = {}

    def train(_: Settings, arm: Arm, *, run: str) -> Trained:
        trained.append(arm.patients)
        return Trained(np.full(1, float(len(trained))), plan)

    def start(asked: Plan) -> Trained:
        assert asked is plan
        return Trained(np.full(1, 9.0), plan)

    def score(arm: Trained, patients: PatientBatch) -> Scored:
        measured.setdefault(str(arm.weights[0]), []).append(members(patients))
        label = patients.target[:, 0].double().numpy()
        return Scored(
            label[:, None],
            label,
            np.zeros((len(label), len(settings_of().cohort.fields))),
            ((),) * len(label),
        )

    monkeypatch.setattr(divide, "train_arm", train)
    monkeypatch.setattr(divide, "score_arm", score)
    monkeypatch.setattr(divide, "untrained", start)
    wards = {site: ward(site) for site in ("ash", "elm", "hop")}
    release = Trained(np.zeros(1), plan)
    found = measure_division(1, settings=settings_of(), plan=plan, wards=wards, seed=1, release=release)
    # pooled and the two alone; the federated arm is the release
    assert [sorted(arm) for arm in trained] == [["pooled"], ["ash"], ["elm"]]
    assert members(trained[0]["pooled"]) == [*range(40), *range(40)]
    held_out = [*range(40, 60), *range(40, 60)]
    assert measured == {
        name: [held_out, list(range(N))] for name in ("0.0", "1.0", "2.0", "3.0", "9.0")
    }
    assert found.training == {"ash": 40, "elm": 40}
    assert found.patients == {"internal": 40, "hop": 60}


def test_where_films_are_read_the_federation_is_trained_without_them_too(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, list[str]]] = []

    def train(settings: Settings, arm: Arm, *, run: str) -> Trained:
        asked.append((settings.fusion.name, sorted(arm.patients)))
        return Trained(np.zeros(1), plan)

    def score(arm: Trained, patients: PatientBatch) -> Scored:
        label = patients.target[:, 0].double().numpy()
        return Scored(label[:, None], label, np.zeros((len(label), len(settings_of().cohort.fields))))

    monkeypatch.setattr(divide, "train_arm", train)
    monkeypatch.setattr(divide, "score_arm", score)
    wards = {site: ward(site) for site in ("ash", "elm", "hop")}
    settings = compose_settings(["fusion=linear", "privacy=off"])
    found = measure_division(2, settings=settings, plan=plan, wards=wards, seed=1)
    assert asked[-1] == ("clinical_only", ["ash", "elm"])
    assert [fusion for fusion, _ in asked[:-1]] == ["linear"] * 4
    arms = list(dict.fromkeys(row.arm for row in found.figures))
    assert arms == [
        *("federated", "pooled", "ash alone", "elm alone", "clinical only", "untrained", "OST"),
    ]
    assert found.rule is not None
    assert found.rule.patients == {"internal": sum(found.patients.values()) - 60, "hop": 60}


def test_a_hospital_with_nobody_left_to_train_on_stops_the_division(plan: Plan) -> None:
    wards = {site: ward(site) for site in ("ash", "hop")}
    wards["elm"] = ward("elm", ("internal",) * N)
    with pytest.raises(RunError) as caught:
        measure_division(1, settings=settings_of(), plan=plan, wards=wards, seed=1)
    assert caught.value.code == "run.nobody-trains"
    assert "elm" in caught.value.fact
