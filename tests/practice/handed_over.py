"""One real run of two rounds over tables, and everything its parties hand to an auditor."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from table_federation import found_tables, write_table

from client.gate.ledger import Ledger
from client.gate.outbox import Outbox
from client.gate.statement import state_run
from client.site.folder import Site, open_site
from server.engines.launch import launch_stage
from server.federation.folder import Home
from server.run.release import make_release
from shared.audit.finding import Finding, Findings, Verdict, write_findings
from shared.audit.page import make_report
from shared.audit.recount.evidence import SiteEvidence, gather_evidence
from shared.contract.plan import Plan, read_plan, write_plan
from shared.privacy.ledger_export import LedgerExport, write_export
from shared.privacy.ledger_format import GENESIS, LedgerRow, encode_row
from shared.signing.keys import SigningKey

ROWS = {"elm": range(150), "fir": range(150, 300), "hop": range(300, 400)}
RUN = "cytology"


Rows = list[LedgerRow]


def sign_chain(rows: Rows, key: SigningKey) -> list[dict[str, object]]:
    """Rows as a whole ledger of its own, numbered, linked and signed anew."""
    lines: list[dict[str, object]] = []
    head = GENESIS
    for index, row in enumerate(rows):
        linked = replace(row, index=index, previous_sha256=head)
        lines.append(json.loads(encode_row(linked, key)))
        head = linked.sha256
    return lines


@dataclass(frozen=True)
class HandedOver:
    """A federation's folder: ``handed/`` holds what the sites exported."""

    folder: Path

    @property
    def run_folder(self) -> Path:
        return self.folder / "coordinator" / "runs" / RUN

    @property
    def plan_file(self) -> Path:
        return self.run_folder / "plan.json"

    @property
    def plan(self) -> Plan:
        return read_plan(self.plan_file)

    @property
    def coordinator(self) -> SigningKey:
        return Home(self.folder / "coordinator").key()

    def site(self, name: str = "elm") -> Site:
        return open_site(self.folder / "sites" / name)

    def ledger(self, name: str = "elm") -> Path:
        return self.folder / "handed" / f"{name}-ledger.json"

    def statement(self, name: str = "elm") -> Path:
        return self.folder / "handed" / f"{name}-statement.json"

    def outbox(self, name: str = "elm") -> Path:
        return self.folder / "handed" / f"{name}-outbox.json"

    def export(self, name: str = "elm") -> LedgerExport:
        return LedgerExport.model_validate_json(self.ledger(name).read_bytes())

    def rows(self, name: str = "elm") -> Rows:
        export = self.export(name)
        return export.rows(trusted_key=export.public_key)

    def forge_ledger(self, rows: Rows, name: str = "elm", **changes: object) -> None:
        """A site that lies signs other rows; without countersignatures unless ``changes`` say so."""
        lines = tuple(sign_chain(rows, self.site(name).key))
        values: dict[str, object] = {"lines": lines, "countersignatures": ()} | changes
        write_export(self.ledger(name), self.export(name).model_copy(update=values))

    def evidence(self, name: str = "elm", **changes: object) -> SiteEvidence:
        """Everything about a site, read from the files."""
        values: dict[str, object] = {
            "ledgers": [self.ledger(name)],
            "statements": [self.statement(name)],
            "outboxes": {name: self.outbox(name)},
            "run_folder": self.run_folder,
        }
        return gather_evidence(self.plan, **(values | changes))[0]

    def hand_over(self, name: str) -> None:
        """What a hospital exports for an auditor, statement first."""
        site = self.site(name)
        state_run(site, RUN, self.statement(name))
        ledger = Ledger(site.folder / "ledger", site=name, key=site.key, clock=site.clock)
        ledger.export(self.ledger(name), allowance=site.policy.allowance)
        departures = Outbox(site.folder / "outbox", site.folder / "replies").show()
        self.outbox(name).write_text(json.dumps([asdict(each) for each in departures]))


def play_run(
    folder: Path,
    *overrides: str,
    described: bool = False,
    policy: Mapping[str, object] | None = None,
) -> HandedOver:
    """Train two rounds, validate, and hand over; ``described``: describe the patients first."""
    archives = {name: folder / "archives" / name for name in ROWS}
    for name, archive in archives.items():
        write_table(archive / "clinical.csv", ROWS[name])
    chosen = ["federation.rounds=2", "federation.local_steps=1", "federation.learning_rate=0.5"]
    if any(override.startswith("learner=") for override in overrides):
        chosen = []  # of what a learner does not use nothing may be set
    store, folders = found_tables(
        folder, archives, external=["hop"], overrides=[*chosen, *overrides], policy=policy
    )
    for stage in ("description", "train") if described else ("train",):
        launch_stage(store, stage, site_folders=folders)
    make_release(store, Home(store.home).key())
    for stage in ("internal", "external"):
        launch_stage(store, stage, site_folders=folders)
    made = HandedOver(folder)
    for name in ROWS:
        made.hand_over(name)
    return made


def signed_report(
    made: HandedOver,
    folder: Path,
    auditor: SigningKey,
    *,
    plan: Plan | None = None,
    **verdicts: Verdict,
) -> Path:
    """An auditor's report about a run's plan, or another one: a verdict by canaries about each site."""
    findings = tuple(
        Finding(
            method="canary",
            site=site,
            claim="c",
            verdict=verdict,
            because="b",
            figures={},
            blind_to="much",
        )
        for site, verdict in verdicts.items()
    )
    examined = plan or made.plan
    found = Findings(method="canary", plan_sha256=examined.sha256, findings=findings)
    write_findings(folder / "findings" / "canary.json", found)
    write_plan(folder / "findings" / "plan.json", examined, made.coordinator)
    now = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
    return make_report(folder / "findings", folder / "report", key=auditor, now=now)[2]


@pytest.fixture(scope="session")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> HandedOver:
    """To be looked at only."""
    return play_run(tmp_path_factory.mktemp("audited"))


@pytest.fixture
def handed(made_run: HandedOver, tmp_path: Path) -> HandedOver:
    """A copy of this test's own, free to be tampered with."""
    shutil.copytree(made_run.folder, tmp_path / "copy")
    return HandedOver(tmp_path / "copy")
