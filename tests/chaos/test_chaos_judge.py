"""The judge sees every rule that is broken: files of a whole run are damaged one by one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator

import pytest
from chaos_federation import Ended, Federation
from chaos_judge import RULES, breaches
from faulty_grid import run_with_faults

from client.app import app
from server.federation.folder import Home
from server.run.release import make_release


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    """A run of three rounds in this process, released."""
    it = Federation(tmp_path_factory.mktemp("judged") / "federation")
    it.begin("judged", {"engine": "local", "federation.local_steps": 1})
    run_with_faults(it.store.folder, it.sites, client_app=app, faults=())
    make_release(it.store, Home(it.home).key())
    it.ended.append(Ended("launch", "finished", "", "", 1.0))
    return it


@pytest.fixture
def it(whole: Federation) -> Iterator[Federation]:
    """The same run, put back after it was damaged."""
    kept = whole.folder.with_name("kept")
    shutil.copytree(whole.folder, kept)
    yield whole
    shutil.rmtree(whole.folder)
    kept.rename(whole.folder)


def test_a_whole_run_breaks_no_rule(it: Federation) -> None:
    assert breaches(it) == {rule: [] for rule in RULES}


def lose_round(it: Federation) -> None:
    shutil.rmtree(it.store.training.round_folder(3))


def damage_round(it: Federation) -> None:
    shutil.copy(
        it.store.training.round_folder(1) / "state.safetensors",
        it.store.training.round_folder(2) / "state.safetensors",
    )


def change_parts(
    it: Federation, number: int, change: Callable[[list[dict[str, object]]], object]
) -> None:
    path = it.store.training.round_folder(number) / "state.json"
    content = json.loads(path.read_bytes())
    change(content["contributions"])
    path.write_text(json.dumps(content))


def count_unpaid(it: Federation) -> None:
    change_parts(it, 2, lambda parts: parts[0].update(ledger_head="0" * 64))


def leave_out_required(it: Federation) -> None:
    change_parts(it, 3, lambda parts: parts.pop(0))


def edit_ledger(it: Federation) -> None:
    path = it.sites["elm"] / "ledger" / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"status":"released"', b'"status":"kept"', 1))


def hold_another_total(it: Federation) -> None:
    folder = it.store.folder / "replies" / "train"
    shutil.copy(folder / "0001" / "elm.safetensors", folder / "0002" / "elm.1.aside")


def pay_twice(it: Federation) -> None:
    path = it.sites["hop"] / "ledger" / "ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, next(line for line in lines if b'"kind":"charge"' in line)]))


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lose_round, "rounds"),
        (damage_round, "rounds"),
        (hold_another_total, "trained"),
        (pay_twice, "trained"),
        (count_unpaid, "charges"),
        (edit_ledger, "charges"),
        (leave_out_required, "release"),
    ],
    ids=lambda given: getattr(given, "__name__", given),
)
def test_a_rule_that_is_broken_is_seen(
    it: Federation, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Federation], None], rule: str
) -> None:
    monkeypatch.setattr("chaos_judge._refuted", lambda _: [])  # it reads what is damaged here
    damage(it)
    assert breaches(it)[rule]


def test_what_the_recount_refutes_is_seen(it: Federation) -> None:
    path = it.sites["fir"] / "outbox" / "outbox.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if b'"dp"' not in line))
    assert breaches(it)["recount"]
