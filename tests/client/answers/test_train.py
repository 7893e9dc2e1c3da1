"""A site's round as the coordinator triggers it: charge, bounds of the update, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import client.answers.train
import numpy as np
import pytest
import torch
from client.answers.train import answer_train
from table_site import TableSites, copy_sites, known_noise

import client.answers.hello
from shared.contract.protocol import TrainReply, TrainRequest
from shared.errors import OsteoFedError
from shared.model.build import build_model
from shared.model.weights import load_flat, trainable
from shared.privacy.ledger_format import members_sha256
from shared.train.loss import make_patient_loss


def answer(sites: TableSites, request: TrainRequest, name: str = "elm") -> TrainReply:
    released = answer_train(sites.site(name), sites.gate(name), request)
    assert isinstance(released.message, TrainReply)
    return released.message


def sum_by_hand(sites: TableSites, clip_norm: float) -> np.ndarray:
    """Each training patient's gradient by plain autograd, clipped, summed."""
    settings = sites.plan.settings
    batch, loss = sites.split("train").batch, make_patient_loss(settings.task)
    model = build_model(settings, generator_seed=0)
    load_flat(model, sites.weights)
    parameters = [weight for _, weight in trainable(model)]
    total = np.zeros(sites.weights.size)
    for index in range(len(batch)):
        gradients = torch.autograd.grad(loss(model, batch.patient(index)), parameters)
        flat = torch.cat([part.reshape(-1) for part in gradients]).double().numpy()
        total += flat * min(1.0, clip_norm / np.linalg.norm(flat))
    return total


def test_a_step_is_the_clipped_sum_over_the_declared_size_and_nothing_else(sites: TableSites) -> None:
    privacy, federation = sites.plan.settings.privacy, sites.plan.settings.federation
    with known_noise(0.0):
        update = answer(sites, sites.train_request()).update
    divisor = sites.plan.entry("elm").declared_patients
    expected = -(federation.learning_rate or 0) / divisor * sum_by_hand(sites, privacy.clip_norm)
    np.testing.assert_allclose(update, expected, rtol=1e-4, atol=1e-7)


def test_noise_of_the_plans_size_reaches_every_weight_of_the_update(
    made: TableSites, tmp_path: Path
) -> None:
    updates = []
    for value in (0.0, 1.0):
        sites = copy_sites(made, tmp_path / str(value))
        with known_noise(value) as drawn:
            updates.append(answer(sites, sites.train_request()).update)
        assert sum(drawn) == updates[-1].size
    privacy, federation = made.plan.settings.privacy, made.plan.settings.federation
    step = (federation.learning_rate or 0) / made.plan.entry("elm").declared_patients
    size = step * (privacy.noise_multiplier or 0) * privacy.clip_norm
    assert size > 0.005
    np.testing.assert_allclose(updates[1] - updates[0], -size, rtol=1e-4)


def test_noise_comes_from_the_operating_system_and_never_repeats(
    made: TableSites, tmp_path: Path
) -> None:
    updates = [
        answer(copy, copy.train_request()).update
        for copy in (copy_sites(made, tmp_path / "first"), copy_sites(made, tmp_path / "second"))
    ]
    assert (updates[0] != updates[1]).mean() > 0.99


def test_everybody_in_the_training_split_is_charged_before_anybody_is_touched(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def train_update(*arguments: object, **names: object) -> np.ndarray:
        seen.append((sites.charges(), len(arguments[1]), names["divisor"]))  # type: ignore[arg-type]
        return np.zeros(sites.weights.size, dtype=np.float32)

    monkeypatch.setattr(client.answers.train, "train_update", train_update)
    answer(sites, sites.train_request())
    trained = sites.split("train").arrays.patients
    assert seen == [(1, len(trained), sites.plan.entry("elm").declared_patients)]
    row = next(row for row in sites.gate().ledger.show() if row.kind == "charge")
    privacy = sites.plan.settings.privacy
    assert row.members_sha256 == members_sha256(trained)
    assert (row.noise_multiplier, row.sample_rate, row.steps) == (privacy.noise_multiplier, 1.0, 1)


def test_a_repeated_request_gets_the_same_bytes_and_costs_nothing(sites: TableSites) -> None:
    first = answer(sites, sites.train_request())
    again = answer(sites, sites.train_request(ledger_head="", countersignature=""))
    assert (again.update == first.update).all()
    assert again.signature == first.signature
    assert sites.charges() == 1


def test_the_same_round_with_other_weights_is_refused(sites: TableSites) -> None:
    answer(sites, sites.train_request())
    other = sites.train_request(weights=sites.weights + np.float32(1e-3))
    assert sites.refused(answer_train, other) == "privacy.round-repeated"


@pytest.mark.parametrize(
    ("name", "changes", "code"),
    [
        ("elm", {"plan_sha256": "b" * 64}, "plan.not-approved"),
        ("elm", {"round": 0}, "protocol.no-such-round"),
        ("elm", {"round": 4}, "protocol.no-such-round"),
        ("hop", {}, "plan.not-a-training-site"),
    ],
)
def test_a_request_that_does_not_fit_the_approved_plan_is_refused(
    sites: TableSites, name: str, changes: dict[str, object], code: str
) -> None:
    assert sites.refused(answer_train, replace(sites.train_request(), **changes), name) == code  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"epsilon_per_run": 0.5, "epsilon_lifetime": 0.5}, "policy.plan-forbidden"),
        ({"allowed": ["evaluate.internal"]}, "policy.plan-forbidden"),
    ],
)
def test_a_policy_tightened_after_approval_stops_even_a_repeated_request(
    sites: TableSites, change: dict[str, object], code: str
) -> None:
    first, second = sites.train_request(), sites.train_request(round=2)
    answer(sites, first)
    sites.change_policy(**change)
    assert sites.refused(answer_train, first) == code
    assert sites.refused(answer_train, second) == code


def test_a_cohort_below_the_policys_minimum_is_not_trained(sites: TableSites) -> None:
    sites.change_policy(minimum_cohort_patients=1000)
    assert sites.refused(answer_train, sites.train_request()) == "policy.cohort-too-small"


def test_a_site_with_other_code_than_the_plans_does_not_train(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.answers.hello, "installed_code_hash", lambda: "9" * 64)
    with pytest.raises(OsteoFedError) as caught:
        answer_train(
            sites.site(),
            sites.gate(),
            TrainRequest(
                plan_sha256=sites.plan_sha256,
                round=1,
                weights=np.zeros(1, np.float32),
                ledger_head="",
                countersignature="",
            ),
        )
    assert caught.value.code == "plan.other-code"


def test_a_charge_whose_training_failed_is_not_given_back(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a patient's value")

    gate, request = sites.gate(), sites.train_request()
    monkeypatch.setattr(client.answers.train, "train_update", fail)
    with pytest.raises(RuntimeError) as caught:
        answer_train(sites.site(), gate, request)
    gate.refuse(caught.value, plan_sha256=sites.plan_sha256, request=request)
    assert [row.status for row in sites.gate().ledger.show()][-1] == "osteofed.internal"
    assert sites.charges() == 1
