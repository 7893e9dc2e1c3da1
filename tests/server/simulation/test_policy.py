"""A played hospital's policy: loosened by what was asked for, never tightened, and it says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from client.site.policy import read_policy, write_policy_template
from server.simulation.policy import suit_policy


@pytest.mark.parametrize(
    ("asked", "changed"),
    [
        ({"epsilon_per_run": 2.0, "delta": 1e-6, "noise_multiplier_floor": 4.0}, {}),
        ({"epsilon_per_run": 8.0}, {"epsilon_per_run": 8.0, "epsilon_lifetime": 24.0}),
        ({"epsilon_per_run": 3.1}, {"epsilon_per_run": 3.1, "epsilon_lifetime": 10.0}),
        ({"noise_multiplier_floor": 0.7}, {"noise_multiplier_floor": 0.7}),
        ({"allows_privacy_off": True}, {"allows_privacy_off": True}),
        ({"allows_governed": True}, {"allows_governed": True, "governed_approved_by": "Ada Lovelace"}),
        ({"allows_governed": False, "allows_privacy_off": False}, {}),
    ],
)
def test_only_what_allows_more_is_changed(
    asked: dict[str, float | bool],
    changed: dict[str, object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "ash" / "policy.yaml"
    path.parent.mkdir()
    write_policy_template(path)
    before = yaml.safe_load(path.read_text())
    suit_policy(path, asked, occasion="this test", by="Ada Lovelace")
    assert yaml.safe_load(path.read_text()) == before | changed
    assert ("ash: policy.yaml changed on purpose for this test" in capsys.readouterr().err) == bool(
        changed
    )
    read_policy(path)
