"""Arms: who trains together, of which declared size, and that films of several stores come along."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from practice_patients import practice_patients

from server.federation.compose import compose_settings
from server.simulation.arms import Arm, arms_of, plan_arm, train_arm
from shared.errors import PlanError

SIZES = {"ash": 8, "elm": 12}


def test_every_arm_has_the_patients_and_the_size_of_its_sites() -> None:
    patients = {site: practice_patients(n) for site, n in SIZES.items()}
    arms = arms_of(patients, {"ash": 10, "elm": 20})
    assert list(arms) == ["federated", "pooled", "ash alone", "elm alone"]
    assert {site: len(batch) for site, batch in arms["federated"].patients.items()} == SIZES
    assert dict(arms["pooled"].declared) == {"pooled": 30}
    assert len(arms["pooled"].patients["pooled"]) == 20
    assert dict(arms["elm alone"].declared) == {"elm": 20}
    together = torch.cat([batch.target for batch in patients.values()])
    assert torch.equal(arms["pooled"].patients["pooled"].target, together)


def test_pooled_films_are_each_sites_own_though_their_numbers_are_alike() -> None:
    def with_store(brightness: float):
        batch = practice_patients(2)
        number = torch.tensor([[1, 0], [2, 0]])
        return replace(
            batch,
            tokens=number,
            film_exam=torch.tensor([[0, -1], [0, -1]]),
            film_maker=torch.zeros(2, 2, dtype=torch.int64),
            films=torch.full((2, 4, 4), brightness),
        )

    patients = {"ash": with_store(1.0), "elm": with_store(5.0)}
    pooled = arms_of(patients, SIZES)["pooled"].patients["pooled"]
    assert pooled.films is None
    assert pooled.tokens[:, 0].mean(dim=(1, 2)).tolist() == [1, 1, 5, 5]


def test_the_plan_of_an_arm_is_resolved_for_its_own_roster() -> None:
    settings = compose_settings(["fusion=linear", "privacy.epsilon=1"])
    alone, both = (
        plan_arm(settings, sizes, run="arms") for sizes in ({"ash": 50}, {"ash": 50, "elm": 150})
    )
    assert [entry.weight for entry in both.roster] == [0.25, 0.75]
    assert [entry.weight for entry in alone.roster] == [1.0]
    assert alone.predicted.training_epsilon == both.predicted.training_epsilon


def test_an_arm_of_nobody_is_refused() -> None:
    with pytest.raises(PlanError):
        train_arm(compose_settings(["fusion=linear"]), Arm({}, {}), run="arms")


def test_an_arm_learns_with_the_noise_of_its_settings() -> None:
    settings = [
        compose_settings(["encoder=none", "fusion=clinical_only", "federation.rounds=2", privacy])
        for privacy in ("privacy=off", "privacy.epsilon=1")
    ]
    arm = Arm({"ash": practice_patients(30)}, {"ash": 30})
    exact = [train_arm(settings[0], arm, run="arms").weights for _ in range(2)]
    noised = [train_arm(settings[1], arm, run="arms").weights for _ in range(2)]
    assert np.array_equal(*exact)
    assert not np.array_equal(*noised)
