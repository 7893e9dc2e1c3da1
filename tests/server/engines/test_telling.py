"""A run's events are said while its engine plays: each once, those of before not again."""

from __future__ import annotations

import time
from pathlib import Path

import practice_federation as practice
import pytest

from server.engines.telling import in_words, told_events
from server.run.folder import Event


def test_what_is_logged_inside_is_told_once_and_before_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=2)
    store.log(Event(round=0, site="", code="training-begun"))
    told = ""
    with told_events(store, store.plan.stage("train")):
        store.log(Event(round=1, site="birch", code="policy.too-few-patients"))
        end = time.monotonic() + 20
        while "birch" not in told and time.monotonic() < end:
            time.sleep(0.05)
            told += capsys.readouterr().err
        assert told.strip() == "birch: round 1: policy.too-few-patients"
        store.log(Event(round=1, site="", code="round-committed"))
    rest = capsys.readouterr().err
    assert rest.strip() == f"round 1 of {store.plan.stage('train').rounds} committed"


def test_what_stopped_the_stage_is_told_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=2)

    def stopped() -> None:
        with told_events(store, store.plan.stage("train")):
            store.log(Event(round=2, site="", code="run.quorum-missed"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stopped()
    assert "round 2: run.quorum-missed" in capsys.readouterr().err


def test_an_event_of_ours_says_what_it_means(tmp_path: Path) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=2)
    stage = store.plan.stage("train")
    offline = in_words(Event(round=3, site="aster", code="run.site-offline"), stage)
    assert offline.startswith(
        "aster: round 3: run.site-offline: a site that was asked has been offline"
    )
    begun = in_words(Event(round=0, site="", code="training-begun"), stage)
    assert begun == "sites are there, and the first round is asked"
