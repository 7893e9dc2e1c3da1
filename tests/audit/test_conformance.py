"""The conformance battery on files: hidden rounds, shared noise, too few draws, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audited_run import ROUNDS, found_audited
from table_site import TableSites
from typer.testing import CliRunner

from client.ledger import Ledger
from client.register import export_register
from client.train import answer_train
from shared.audit.command import app
from shared.audit.conformance import conformance_findings, shared_noise_findings
from shared.audit.finding import Finding
from shared.audit.records import CommittedRegister, read_records
from shared.audit.register import RegisterRecord

N_CANARIES, LOCAL_STEPS = 1000, 5


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TableSites:
    """Two rounds at site ``elm`` with canaries among its patients."""
    sites = found_audited(
        tmp_path_factory.mktemp("audited"),
        epsilon=3.0,
        canaries=N_CANARIES,
        sample_rate=1.0,
        local_steps=LOCAL_STEPS,
    )
    for round_ in range(1, ROUNDS + 1):
        answer_train(sites.site(), sites.gate(), sites.train_request(round=round_))
    site = sites.site()
    export_register(site, sites.plan, sites.folder / "register.npz")
    own = Ledger(site.folder / "ledger", site=site.name, key=site.key, clock=site.clock)
    own.export(sites.folder / "ledger.json", allowance=site.policy.allowance)
    return sites


@pytest.fixture(scope="module")
def record(trained: TableSites) -> CommittedRegister:
    (found,) = read_records(
        trained.plan,
        registers=[trained.folder / "register.npz"],
        ledgers=[trained.folder / "ledger.json"],
        site_keys={},
    )
    return found


def findings(trained: TableSites, record: CommittedRegister, **changes: object) -> dict[str, Finding]:
    changed = replace(record.register, **changes)  # type: ignore[arg-type]
    found = conformance_findings(changed, trained.plan, record.ledger.rows)
    return {finding.claim: finding for finding in found}


def test_a_correct_run_passes_every_claim_and_shows_what_it_measured(
    trained: TableSites, record: CommittedRegister
) -> None:
    found = findings(trained, record)
    assert {finding.verdict for finding in found.values()} == {"pass"}
    assert len(found) == 6
    promised = trained.plan.settings.privacy.noise_multiplier or 0.0
    noise = next(each for claim, each in found.items() if "standard deviation" in claim)
    assert noise.figures["noise_multiplier_found"] == pytest.approx(promised, rel=0.06)


def test_a_register_that_hides_a_round_is_refuted(
    trained: TableSites, record: CommittedRegister
) -> None:
    register = record.register
    kept = register.rounds == 1
    found = findings(trained, record, sums=register.sums[kept], rounds=register.rounds[kept])
    assert found["The register holds every step that was charged."].verdict == "fail"


def test_sums_that_are_not_finite_are_not_called_examined(
    trained: TableSites, record: CommittedRegister
) -> None:
    found = findings(trained, record, sums=np.full_like(record.register.sums, np.nan))
    assert {finding.verdict for finding in found.values()} == {"pass", "not-run"}
    assert sum(finding.verdict == "not-run" for finding in found.values()) == 5


def test_too_few_canaries_are_not_called_examined(
    trained: TableSites, record: CommittedRegister
) -> None:
    register = record.register
    found = findings(trained, record, sums=register.sums[:, :50], coins=register.coins[:50])
    assert sum(finding.verdict == "not-run" for finding in found.values()) == 5


def test_noise_that_two_sites_share_is_refuted_and_noise_of_their_own_is_not(
    record: CommittedRegister,
) -> None:
    draw = np.random.default_rng(5)

    def at(site: str, noise: np.ndarray) -> RegisterRecord:
        coins = draw.random(N_CANARIES) < 0.5
        return replace(record.register, site=site, coins=coins, sums=noise - 0.5 * coins)

    steps = len(record.register.rounds)
    common, own = draw.normal(size=(2, steps, N_CANARIES))
    (shared_,) = shared_noise_findings([at("elm", common), at("fir", common)])
    (apart,) = shared_noise_findings([at("elm", common), at("fir", own)])
    assert (shared_.verdict, apart.verdict) == ("fail", "pass")
    assert shared_.site == "elm, fir"
    assert shared_noise_findings([at("elm", common)]) == []


def test_the_auditors_command_reads_the_files_and_exits_by_the_verdict(
    trained: TableSites, tmp_path: Path
) -> None:
    files = ["--register", trained.folder / "register.npz", "--ledger", trained.folder / "ledger.json"]
    plan = trained.folder / "coordinator" / "runs" / "cytology" / "plan.json"
    for method in ("conformance", "canary"):
        typed = [method, plan, *files, "--out", tmp_path / "findings", "--json"]
        result = CliRunner().invoke(app, [str(part) for part in typed])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["verdict"] == "pass"
        assert (tmp_path / "findings" / f"{method}.json").exists()
