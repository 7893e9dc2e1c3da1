"""Every file that a hospital, a coordinator or an auditor writes: the one table of formats.

``version`` is the constant or the model that says a format's version. Files of other programs that
merely lie in a folder (Flower's, a process's secret) are named too, so that nothing there is unknown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import get_args

from pydantic import BaseModel

from client.cohort.folder import COHORT_FORMAT
from client.gate.ledger_file import WITNESS_VERSION
from client.people.purge import PURGE_VERSION
from client.site.folder import SiteSettings
from client.site.linkage import LINKAGE_VERSION
from client.site.policy import PolicySettings
from server.encoders.pretrain import RECIPE_VERSION
from server.federation.folder import HEADS_VERSION
from server.federation.join_request import JoinRequest
from server.report.results import Results
from server.report.sweep import SweepResults
from server.run.amendments import Amendment
from server.run.stage_folder import RUN_VERSION
from server.run.stopped import Stop
from server.simulation.comparison import Comparison, Division
from server.simulation.record import RECORD_VERSION
from shared.audit.finding import Findings
from shared.audit.report import AuditReport
from shared.contract.plan import Plan
from shared.contract.protocol import PROTOCOL_VERSION
from shared.contract.release import Lock, ReleaseRecord
from shared.contract.sweep import Sweep
from shared.contract.validation_summary import ValidationSummary
from shared.privacy.ledger_export import LedgerExport
from shared.privacy.ledger_format import LEDGER_VERSION
from shared.privacy.register_format import REGISTER_VERSION
from shared.privacy.statement import PrivacyPredicate
from shared.signing.key_rotation import NOTICE_VERSION
from shared.signing.node_notice import NODE_NOTICE_VERSION
from shared.stages.external_file import EXTERNAL_VERSION

# Words of a path that stand for what differs, and what those of a form look like.
_DIFFERING = re.compile("RUN|STAGE|SITE|NAME|NNNN|SHA256|KEY|METHOD|N")
_FORMS = {"NNNN": r"\d{4}", "N": r"\d+", "SHA256": "[0-9a-f]{64}", "KEY": "[0-9a-f]{64}"}


@dataclass(frozen=True)
class File:
    """One kind of file.

    Attributes:
        path: as in its folder; capitals and ``*`` stand for what differs.
        form: how it is written.
        holds: what is in it.
        version: the constant or model that says its format's version; None: it has none.
    """

    path: str
    form: str
    holds: str
    version: int | type[BaseModel] | None = None

    def is_of(self, path: str) -> bool:
        """Whether a path in the folder is one of these files."""
        pattern = re.escape(self.path).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
        pattern = _DIFFERING.sub(lambda word: _FORMS.get(word[0], "[^/]+"), pattern)
        return re.fullmatch(pattern, path) is not None

    @property
    def version_words(self) -> str:
        """The version as a reader of the file meets it."""
        if isinstance(self.version, type):
            return str(get_args(self.version.model_fields["version"].annotation)[0])
        return "" if self.version is None else str(self.version)


SITE = (
    File("site.yaml", "YAML", "[what the hospital says about itself](site.md)", SiteSettings),
    File("policy.yaml", "YAML", "[what it allows](policy.md)", PolicySettings),
    File(
        "join-request.json",
        "JSON, signed",
        "[for the coordinator](handed-over.md#join-request)",
        JoinRequest,
    ),
    File("keys/signing.pem", "PEM", "the site's Ed25519 key"),
    File("keys/pseudonym.key", "bytes", "secret behind pseudonyms, date shifts and splits"),
    File("keys/node.key", "PEM", "key of the SuperNode"),
    File("keys/node.key.pub", "OpenSSH", "its public half"),
    File(
        "linkage/linkage.bin",
        "sealed",
        "identities behind pseudonyms, and who withdrew",
        LINKAGE_VERSION,
    ),
    File("linkage/lock", "empty", "held while anybody reads or writes"),
    File("cohorts/NAME/vN/cohort.json", "JSON", "head of a frozen version, with hashes", COHORT_FORMAT),
    File("cohorts/NAME/vN/exams.jsonl", "JSON lines", "an exam a line"),
    File("cohorts/NAME/vN/images.npy", "NumPy", "films [n, h, w], float16"),
    File(
        "cohorts/NAME/vN/masks.npy",
        "NumPy",
        "bone of each film [n, h, w], bool; all False: none given; absent without masks",
    ),
    File("cohorts/NAME/vN/overviews.npy", "NumPy", "each film whole [n, 96, 96], for the page alone"),
    File("cohorts/NAME/vN/quarantine.jsonl", "JSON lines", "what was not used, and why"),
    File("cohorts/NAME/film-words.json", "JSON", "words that films said of themselves, and how often"),
    File("cohorts/NAME/vN/purged.json", "JSON", "that the version's data was deleted"),
    File("cohorts/NAME/.intake/*", "sealed", "what films were read to, for the next intake"),
    File(
        "cohorts/NAME/refused-quarantine.jsonl", "JSON lines", "quarantine of the intake refused last"
    ),
    File(
        "ledger/ledger.jsonl",
        "JSON lines, signed",
        "[every touch of a patient](handed-over.md#ledger-row)",
        LEDGER_VERSION,
    ),
    File("ledger/countersigned.jsonl", "JSON lines, signed", "heads that a coordinator has signed"),
    File("ledger/members/SHA256.json", "JSON", "keyed pseudonyms of the patients of a charge"),
    File("ledger/lock", "empty", "held while anybody reads or writes"),
    File("ledger-witness.json", "JSON, signed", "where the ledger stood last", WITNESS_VERSION),
    File("plans/SHA256.json", "JSON, signed", "[a plan](plan.md) that was read here", Plan),
    File("plans/sweep-SHA256.json", "JSON, signed", "a sweep that was read here", Sweep),
    File("approvals/SHA256.json", "JSON, signed", "the latest decision about a plan"),
    File("approvals/log.jsonl", "JSON lines, signed", "every decision"),
    File("approvals/settled/SHA256.json", "JSON, signed", "that policy and code allow the plan"),
    File("offline/plans/SHA256.json", "JSON, signed", "a plan of its own, to measure a release", Plan),
    File("offline/approvals/*", "JSON, signed", "decisions about these"),
    File("locks/SHA256.json", "JSON, signed", "[a lock](handed-over.md#lock) that was accepted", Lock),
    File("outbox/outbox.jsonl", "JSON lines", "[what has left](handed-over.md#departure)"),
    File(
        "outbox/minutes.json",
        "JSON",
        "how many messages of a kind that costs nothing left, by the minute",
    ),
    File(
        "replies/SHA256.json", "JSON", "a finished reply, by the hash of its request", PROTOCOL_VERSION
    ),
    File("audit/SHA256.npz", "NumPy", "the audit register of a plan", REGISTER_VERSION),
    File(
        "rotations/*.json",
        "JSON, signed twice",
        "notice of a replaced key, for the coordinator",
        NOTICE_VERSION,
    ),
    File(
        "rotations/node-*.json",
        "JSON, signed",
        "notice of a replaced node key, for the coordinator",
        NODE_NOTICE_VERSION,
    ),
    File("purges/*.json", "JSON, signed", "what a purge deleted and kept", PURGE_VERSION),
    File("cache/encoders/SHA256.safetensors", "safetensors", "encoder weights"),
    File("cache/tokens/*.npy", "NumPy", "tokens and columns of a cohort's films"),
    File("pages/NAME-vN.html", "HTML", "a cohort's page, for local eyes"),
    File("readings/*.png", "PNG", "a film that was read, beside its heat map"),
    File("staging/**", "DICOM", "films fetched from an archive, until the cohort is frozen"),
    File("log/*.jsonl", "JSON lines", "texts of refusals, and who looked at identities"),
    File("log/**", "text", "logs of processes"),
)
COORDINATOR = (
    File("keys/coordinator.pem", "PEM", "the coordinator's Ed25519 key"),
    File("sites.json", "JSON", "[who is enrolled](handed-over.md#enrolled)"),
    File("heads.json", "JSON", "each site's last ledger head", HEADS_VERSION),
    File("enrolments/SITE.json", "JSON, signed", "the coordinator's key, for the site"),
    File("rotations/SITE/KEY.json", "JSON, signed twice", "notice of a replaced key", NOTICE_VERSION),
    File("deployment/**", "various", "certificates, logs and database of the SuperLink"),
    File("runs/RUN/run.json", "JSON", "name and plan hash", RUN_VERSION),
    File("runs/RUN/plan.json", "JSON, signed", "[the plan](plan.md)", Plan),
    File(
        "runs/RUN/encoder.safetensors",
        "safetensors",
        "the encoder's weights; `pretrain` writes its recipe into it",
        RECIPE_VERSION,
    ),
    File(
        "runs/RUN/encoders/SHA256.safetensors",
        "safetensors",
        "weights of an encoder that the plan's features name",
    ),
    File(
        "runs/RUN/rounds/STAGE/NNNN/state.json",
        "JSON",
        "who contributed, who is missing and why",
        RUN_VERSION,
    ),
    File("runs/RUN/rounds/STAGE/NNNN/state.safetensors", "safetensors", "the state after a round"),
    File("runs/RUN/replies/STAGE/NNNN/SITE.safetensors", "safetensors", "a reply as it arrived"),
    File("runs/RUN/averaged.safetensors", "safetensors", "weights of which the release is made"),
    File("runs/RUN/events.jsonl", "JSON lines", "round, site, [code](codes.md)"),
    File("runs/RUN/outcome-STAGE.json", "JSON", "how a stage ended"),
    File("runs/RUN/pause", "empty", "asks the run to stop before its next round"),
    File("runs/RUN/command.holder", "JSON", "the command that has the run: process, host, since"),
    File("runs/RUN/stage.holder", "JSON", "the ServerApp that plays a stage of it, the same way"),
    File(
        "runs/RUN/amendments/SITE.json",
        "JSON, signed",
        "a site that a person has dropped from the run, and why",
        Amendment,
    ),
    File(
        "runs/RUN/stopped.json",
        "JSON, signed",
        "that a person has closed the run for good, and why",
        Stop,
    ),
    File("runs/RUN/ledgers/SITE.json", "JSON", "a ledger export that was handed in", LedgerExport),
    File(
        "runs/RUN/external/SITE.json",
        "JSON, signed",
        "what a hospital measured offline: ε, its own [plan](plan.md), its reply",
        EXTERNAL_VERSION,
    ),
    File("runs/RUN/report.html", "HTML", "the report"),
    File("runs/RUN/report.json", "JSON", "[the same for programs](handed-over.md#results)", Results),
    File("sweeps/NAME/sweep.json", "JSON, signed", "[a sweep](handed-over.md#sweep), its plans", Sweep),
    File("sweeps/NAME/sweep.html", "HTML", "its arms beside each other"),
    File(
        "sweeps/NAME/results.json",
        "JSON",
        "[the same for programs](handed-over.md#sweep-results)",
        SweepResults,
    ),
)
# Of ``runs/RUN/release/``.
RELEASE = (
    File("release.json", "JSON, signed", "[what it is](handed-over.md#release-record)", ReleaseRecord),
    File("weights.npy", "NumPy", "weights [p], float32; of a learner its state, float64"),
    File("plan.json", "JSON, signed", "[the plan](plan.md)", Plan),
    File("encoder.safetensors", "safetensors", "the encoder's file, where the plan names one"),
    File(
        "encoders/SHA256.safetensors", "safetensors", "an encoder's file that the plan's features name"
    ),
    File(
        "validation.json",
        "JSON, signed",
        "[what validations said](handed-over.md#validation-summary)",
        ValidationSummary,
    ),
    File("lock.json", "JSON, signed", "[the lock](handed-over.md#lock), once there is one", Lock),
)
HANDED_OVER = (
    File(
        "*ledger.json", "JSON", "[a ledger for an auditor](handed-over.md#ledger-export)", LedgerExport
    ),
    File(
        "*statement.json",
        "DSSE",
        "[a site's privacy statement](handed-over.md#privacy-predicate)",
        PrivacyPredicate,
    ),
    File("*statement.txt", "text", "the same for people"),
    File("*register.npz", "NumPy", "canaries, coins and their noised sums", REGISTER_VERSION),
    File("*outbox.json", "JSON", "`osteofed-site outbox --json`"),
)
AUDITOR = (
    File("auditor.pem", "PEM", "the auditor's Ed25519 key"),
    File("findings/METHOD.json", "JSON", "[findings of one method](handed-over.md#findings)", Findings),
    File("findings/plan.json", "JSON, signed", "[the plan](plan.md) that they are about", Plan),
    File("audit-report.json", "DSSE", "[the signed report](handed-over.md#audit-report)", AuditReport),
    File("audit-report.html", "HTML", "the same for people"),
)
SIMULATION = (
    File("simulation.json", "JSON", "inputs, by hash and by value", RECORD_VERSION),
    File(
        "divisions/NNNN.json", "JSON", "[every arm](handed-over.md#division) on one division", Division
    ),
    File("comparison.json", "JSON", "[all divisions](handed-over.md#comparison)", Comparison),
    File("comparison.html", "HTML", "the same for people"),
)
