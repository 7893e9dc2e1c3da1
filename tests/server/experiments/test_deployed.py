"""A system is deployed as hospitals would run it, and what was seen stands on the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from practice_experiments import SEEN, TWO

from server.experiments import deployed
from server.experiments.deployed import (
    deploy_system,
    deployed_section,
    keep_deployed,
    read_deployed,
    require_whole,
    systems_to_deploy,
)
from server.experiments.systems import SYSTEMS
from shared.errors import RunError


def test_every_paper_has_a_deployment_and_none_is_played_twice() -> None:
    names = [system.name for system in systems_to_deploy(SYSTEMS)]
    assert {"xattn_bmd", "cssc", "tl_fusion", "dlr_ovf", "fm_cxr"} <= set(names)
    # the arm of hip_table at other hospitals, and what belongs to another system
    assert not {"who_gains", "fm_cxr_leaking"} & set(names)


def test_a_deployment_is_kept_in_the_place_of_an_older_one(tmp_path: Path) -> None:
    systems = [replace(TWO, name="first"), TWO]
    assert read_deployed(tmp_path) == ()
    keep_deployed(SEEN, systems, root=tmp_path)
    keep_deployed(SEEN.model_copy(update={"system": "first"}), systems, root=tmp_path)
    newer = SEEN.model_copy(update={"rounds": 5})
    keep_deployed(newer, systems, root=tmp_path)
    assert [(each.system, each.rounds) for each in read_deployed(tmp_path)] == [
        ("first", 3),
        ("two_heads", 5),
    ]


def test_the_page_says_what_was_seen_and_names_what_was_refuted() -> None:
    assert deployed_section([], [TWO]) == []
    lines = deployed_section([SEEN], [TWO])
    assert lines[-1].startswith("| two_heads | 3 + 1 external | 100 | 3 | 61 | 3.00 | 3.50 | 3 of 4 |")
    assert lines[-1].endswith("| 40, 0, 9 |")
    refuted = SEEN.model_copy(update={"claims": {"fail": 1}, "refuted": ("birch: paid twice",)})
    assert deployed_section([refuted], [TWO])[-1] == "- **two_heads: birch: paid twice**"
    other = replace(TWO, name="other", arms=TWO.arms[1:], ablations=())
    assert deployed_section([SEEN], [TWO, other])[-1] == "**Not deployed yet:** other."


def test_a_deployment_that_failed_ends_the_command(tmp_path: Path) -> None:
    require_whole(SEEN.model_copy(update={"measured": (4, 4)}))
    for update, said in (
        ({"measured": (3, 4)}, "3 of 4 tables"),
        ({"measured": (4, 4), "refuted": ("birch: paid twice",)}, "birch: paid twice"),
    ):
        with pytest.raises(RunError, match=said) as caught:
            require_whole(SEEN.model_copy(update=update))
        assert caught.value.code == "run.deployment-failed"


@pytest.mark.deployed
def test_a_system_is_deployed_under_its_epsilon_and_its_ledgers_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployed, "_PATIENTS", 80)
    two = replace(TWO.population, training=("aster", "birch"), external=())
    ridge = replace(TWO, population=two, arms=TWO.arms[1:], ablations=())
    seen = deploy_system(ridge, work=tmp_path)
    assert seen.epsilon is not None
    assert 2.9 < seen.epsilon <= 3.0
    assert (seen.rounds, seen.measured) == (2, (2, 2))
    assert seen.refuted == ()
    assert seen.claims["pass"] >= 20
