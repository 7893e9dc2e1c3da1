"""The command measures what was named and writes its page; a wrong name is answered by the nearest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from practice_experiments import SEEDS, SEEN, TWO, keep_invented

from server.experiments import command
from server.experiments.command import deploy_all, main, run_experiments
from server.experiments.deployed import Deployed
from server.experiments.system import Setting, System
from server.experiments.systems_page import PAGE, read_outcomes
from shared.errors import SettingsError


def test_what_was_named_is_measured_and_stands_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[str], str, tuple[int, ...]]] = []

    def measure(
        systems: Sequence[System], setting: Setting, seeds: tuple[int, ...], **given: object
    ) -> None:
        asked.append(([each.name for each in systems], setting.name, seeds))
        keep_invented(tmp_path / "work", {"descent": 0.05, "ridge": 0.06})

    few = Setting(name="few", n_patients=100, n_seeds=2)
    monkeypatch.setattr(command, "SETTINGS", {"few": few})
    monkeypatch.setattr(command, "measure_side_by_side", measure)
    run_experiments(
        ["two_heads"],
        setting="few",
        n_seeds=None,
        work=tmp_path / "work",
        root=tmp_path,
        systems=[TWO],
    )
    assert asked == [(["two_heads"], "few", SEEDS)]
    assert [each.system for each in read_outcomes(tmp_path)] == ["two_heads"]
    assert "## two_heads" in (tmp_path / PAGE).read_text()


def test_a_system_that_there_is_not_is_answered_by_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not two_head") as caught:
        run_experiments(["two_head"], setting="small", n_seeds=1, root=tmp_path, systems=[TWO])
    assert caught.value.code == "settings.unknown-system"
    assert "two_heads" in caught.value.fact
    assert not list(tmp_path.iterdir())


def test_the_page_alone_is_written_without_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[object, ...]] = []
    monkeypatch.setattr(command, "write_systems", lambda *given, **_: written.append(given))
    monkeypatch.setattr(command, "measure_side_by_side", lambda *_, **__: pytest.fail("measured"))
    main(["--page"])
    assert written == [(command.SYSTEMS, ())]


def test_deployments_are_asked_for_by_name_and_each_is_kept_as_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def deploy(system: System, *, work: Path) -> Deployed:
        asked.append(system.name)
        return SEEN.model_copy(update={"system": system.name, "measured": (4, 4)})

    monkeypatch.setattr(command, "deploy_system", deploy)
    other = replace(TWO, name="other", arms=TWO.arms[1:], ablations=())
    deploy_all(["other"], work=tmp_path / "work", root=tmp_path, systems=[TWO, other])
    assert asked == ["other"]
    deploy_all([], work=tmp_path / "work", root=tmp_path, systems=[TWO, other])
    assert asked == ["other", "two_heads", "other"]
    assert "| two_heads | 3 + 1 external |" in (tmp_path / PAGE).read_text()
    with pytest.raises(SettingsError, match="not othr"):
        deploy_all(["othr"], root=tmp_path, systems=[TWO, other])
