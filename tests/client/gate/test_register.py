"""A site's audit register: coins before the first charge, sums after each round, one way out."""

from __future__ import annotations

import errno
import json
import stat
from pathlib import Path

import numpy as np
import pytest
from table_site import TableSites, copy_sites, found_table_sites
from typer.testing import CliRunner

import shared.stages.gradient
from client.command.app import app
from client.gate.register import export_register, register_file
from shared.errors import AuditError
from shared.privacy.register_format import RegisterRecord, read_register

N_CANARIES = 40


@pytest.fixture(scope="module")
def made_audited(tmp_path_factory: pytest.TempPathFactory) -> TableSites:
    return found_table_sites(tmp_path_factory.mktemp("audited"), f"privacy.canaries={N_CANARIES}")


@pytest.fixture
def audited(made_audited: TableSites, tmp_path: Path) -> TableSites:
    return copy_sites(made_audited, tmp_path / "federation")


def kept(sites: TableSites) -> RegisterRecord:
    return read_register(register_file(sites.site(), sites.plan_sha256))


def train(sites: TableSites, round_: int = 1) -> None:
    sites.answer(sites.train_request(round=round_))


def test_every_charge_names_the_coins_that_were_on_disk_before_it(
    audited: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    honest = shared.stages.gradient.train_update

    def train_update(*arguments: object, **names: object) -> object:
        charge = next(row for row in audited.gate().ledger.show() if row.kind == "charge")
        seen.append(charge.canaries_sha256 == kept(audited).commitment)
        return honest(*arguments, **names)  # type: ignore[arg-type]

    monkeypatch.setattr(shared.stages.gradient, "train_update", train_update)
    train(audited)
    train(audited, 2)
    assert seen == [True, True]
    charges = [row for row in audited.gate().ledger.show() if row.kind == "charge"]
    assert {row.canaries_sha256 for row in charges} == {kept(audited).commitment}


def test_sums_of_every_step_are_kept_in_order_of_rounds(audited: TableSites) -> None:
    train(audited, 2)
    train(audited, 1)
    record = kept(audited)
    assert record.rounds.tolist() == [1, 2]
    assert record.sums.shape == (2, N_CANARIES)
    assert np.abs(record.sums).min() > 0
    assert record.places.shape == (2, N_CANARIES)
    assert (record.places[0] != record.places[1]).any(), "an order drawn afresh in every round"
    assert record.length == N_CANARIES + audited.initial.size
    mode = register_file(audited.site(), audited.plan_sha256).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_a_round_trained_again_after_a_crash_takes_the_place_of_the_first(
    audited: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    with monkeypatch.context() as patch:
        patch.setattr("client.gate.outbox.Outbox.store_reply", fail)
        with pytest.raises(OSError, match="disk full"):
            train(audited)
    first = kept(audited)
    train(audited)
    again = kept(audited)
    assert again.rounds.tolist() == first.rounds.tolist() == [1]
    assert (again.sums != first.sums).all()
    assert (again.coins == first.coins).all()


def test_coins_of_two_sites_are_tossed_apart(made_audited: TableSites, tmp_path: Path) -> None:
    pair = [copy_sites(made_audited, tmp_path / name) for name in ("first", "second")]
    for sites in pair:
        train(sites)
    records = [kept(sites) for sites in pair]
    assert (records[0].coins != records[1].coins).any()
    assert records[0].salt != records[1].salt
    assert 5 <= records[0].coins.sum() <= 35


def test_an_export_is_in_the_outbox_and_says_what_it_is(audited: TableSites, tmp_path: Path) -> None:
    train(audited)
    out = tmp_path / "register.npz"
    folder = str(audited.site().folder)
    result = CliRunner().invoke(
        app, ["register", "cytology", "--folder", folder, "--out", str(out), "--json"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["commitment"] == read_register(out).commitment
    departure = audited.gate().outbox.show()[-1]
    assert (departure.channel, departure.release_class) == ("export.register", "public")
    assert departure.n_bytes == out.stat().st_size


def test_a_run_without_canaries_has_no_register(sites: TableSites, tmp_path: Path) -> None:
    train(sites)
    charge = next(row for row in sites.gate().ledger.show() if row.kind == "charge")
    assert charge.canaries_sha256 == ""
    with pytest.raises(AuditError, match=r"privacy\.canaries"):
        export_register(sites.site(), sites.plan, tmp_path / "register.npz")
