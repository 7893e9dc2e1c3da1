"""What was charged and what has left, as a person and a program are told."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from table_site import TableSites
from typer.testing import CliRunner

from client.command.app import app
from client.gate.outbox import Outbox
from shared.privacy.ledger_export import read_exports


@pytest.fixture
def trained(sites: TableSites) -> TableSites:
    """A site that was charged for one round of training and one table, and has sent both."""
    sites.answer(sites.train_request())
    sites.answer(sites.measure_request())
    return sites


def ask(sites: TableSites, *words: str) -> Result:
    done = CliRunner().invoke(app, [*words, "--folder", str(sites.site().folder)])
    assert done.exit_code == 0, done.output
    return done


def told(sites: TableSites, *words: str) -> Any:
    return json.loads(ask(sites, *words, "--json").stdout)


def test_every_message_that_left_is_shown_with_its_class_and_cost(trained: TableSites) -> None:
    site = trained.site()
    departures = Outbox(site.folder / "outbox", site.folder / "replies").show()
    listed = told(trained, "outbox")
    assert [each["payload_sha256"] for each in listed] == [each.payload_sha256 for each in departures]
    assert [each["release_class"] for each in listed].count("dp") == 2
    shown = ask(trained, "outbox").stdout
    assert "what has left elm" in shown
    for each in departures:
        assert each.payload_sha256[:12] in shown
        assert each.payload_sha256[:13] not in shown
        assert str(each.n_bytes) in shown


def test_the_ledger_shows_its_rows_and_what_the_dearest_patient_has_left(trained: TableSites) -> None:
    ledger = trained.gate().ledger
    budget = ledger.budget_of_everybody(allowance=trained.site().policy.allowance)
    found = told(trained, "ledger", "show")
    assert [row["kind"] for row in found["rows"]] == [row.kind for row in ledger.show()]
    assert found["budget"]["epsilon_spent"] == budget.epsilon_spent > 0
    assert found["budget"]["epsilon_left"] == budget.epsilon_left
    shown = ask(trained, "ledger", "show").stdout
    for words in ("ledger of elm", "charge", "outcome", "train", "evaluate.internal", "released"):
        assert words in shown
    facts = [line.split() for line in shown.splitlines() if line.split()]
    spent = next(words for words in facts if words[:2] == ["epsilon", "spent"])
    left = next(words for words in facts if words[:2] == ["epsilon", "left"])
    assert float(spent[2]) == pytest.approx(budget.epsilon_spent, abs=0.01)
    assert float(left[2]) == pytest.approx(budget.epsilon_left, abs=0.01)
    assert "1e-05" in shown


def test_a_verified_ledger_tells_how_many_rows_it_has_and_its_head(trained: TableSites) -> None:
    rows = trained.gate().ledger.show()
    assert told(trained, "ledger", "verify") == {
        "rows": len(rows),
        "head": rows[-1].sha256,
        "verdict": "intact",
    }
    assert "intact" in ask(trained, "ledger", "verify").stdout


def test_an_export_is_written_where_it_was_asked_for_and_noted_as_leaving(
    trained: TableSites, tmp_path: Path
) -> None:
    out = tmp_path / "handed" / "elm.json"
    out.parent.mkdir()
    assert told(trained, "ledger", "export", str(out)) == {"site": "elm", "written": str(out)}
    keys = {"elm": trained.plan.entry("elm").public_key}
    assert "elm" in read_exports([out], trusted_keys=keys)
    assert told(trained, "outbox")[-1]["channel"] == "export.ledger"


def test_a_statement_is_signed_and_told_by_its_figures(trained: TableSites, tmp_path: Path) -> None:
    out = tmp_path / "statement.json"
    found = told(trained, "statement", "cytology", "--out", str(out))
    assert found["written"] == str(out)
    assert (found["site"], found["run"]) == ("elm", "cytology")
    assert out.is_file()
    assert out.with_suffix(".txt").is_file()
    shown = ask(trained, "statement", trained.plan_sha256, "--out", str(out)).stdout
    assert "privacy statement of elm, run cytology" in shown
    assert found["guarantee"].split()[0] in shown
    assert "patient, add/remove, 1e-05" in shown


def test_a_register_is_of_the_run_that_was_named(
    trained: TableSites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Path]] = []
    record = SimpleNamespace(coins=np.zeros(40), rounds=[1, 2, 3], commitment="c" * 64)

    def export(_: object, plan: Any, out: Path) -> SimpleNamespace:
        asked.append((plan.sha256, out))
        return record

    monkeypatch.setattr("client.gate.register.export_register", export)
    out = tmp_path / "register.npz"
    assert told(trained, "register", "cytology", "--out", str(out)) == {
        "site": "elm",
        "canaries": 40,
        "steps": 3,
        "commitment": "c" * 64,
        "written": str(out),
    }
    assert asked == [(trained.plan_sha256, out)]


def test_a_rotated_key_is_told_with_the_one_before_and_the_notice(trained: TableSites) -> None:
    before = trained.site().key.public_hex
    found = told(trained, "rotate-key", "--by", "Ada Lovelace")
    assert (found["site"], found["old key"]) == ("elm", before)
    assert found["new key"] == trained.site().key.public_hex != before
    assert Path(found["notice for the coordinator"]).is_file()


def test_a_key_is_rotated_in_a_persons_name(trained: TableSites) -> None:
    folder = str(trained.site().folder)
    assert CliRunner().invoke(app, ["rotate-key", "--folder", folder]).exit_code == 2
