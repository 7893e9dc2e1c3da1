"""``file-formats.md``, ``plan.md`` and ``handed-over.md``: files, their versions and their fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reference.fields import field_table, linked, section
from reference.files import AUDITOR, COORDINATOR, HANDED_OVER, RELEASE, SIMULATION, SITE, File
from reference.markdown import code, page, table
from reference.settings import settings_anchors

from client.gate.outbox import Departure
from server.federation.folder import Enrolled
from server.federation.join_request import JoinRequest
from server.report import results, sweep
from server.report.pooling import PooledEffect
from server.simulation import comparison
from shared.audit.finding import Finding, Findings
from shared.audit.report import AuditReport
from shared.contract import plan, stages
from shared.contract import sweep as contract_sweep
from shared.contract.decision import Decision
from shared.contract.model_settings import Caps
from shared.contract.release import Lock, ReleaseRecord
from shared.contract.settings import Patience, PlanSettings
from shared.contract.validation_summary import SummaryFigure, SummaryRow, ValidationSummary
from shared.exam.schema import CohortSchema
from shared.measure.description.reading import (
    CategoryReading,
    Description,
    NumberReading,
    SecondMoments,
)
from shared.measure.table.endpoint import Curves
from shared.measures.calibration import CalibrationPoint
from shared.measures.curves import NetBenefit
from shared.privacy import statement
from shared.privacy.ledger_export import Account, LedgerExport
from shared.privacy.ledger_format import Countersignature, LedgerRow
from shared.sums.estimate import Estimate, Measures

_PLAN = (
    plan.Plan,
    plan.RosterEntry,
    plan.PredictedCost,
    plan.SplitCost,
    plan.MeasuredRelease,
    PlanSettings,
    Caps,
    Patience,
    stages.GradientStage,
    stages.LearnerStage,
    stages.TableStage,
    stages.BlockWeights,
    stages.MeasureStage,
    stages.DescriptionStage,
)
# Headings of ``handed-over.md`` and the classes under each, as they travel.
_HEADINGS: dict[str, tuple[type, ...]] = {
    "Enrolment": (JoinRequest, Enrolled),
    "Release": (ReleaseRecord, Decision, Lock, ValidationSummary, SummaryRow, SummaryFigure),
    "Ledger and outbox": (LedgerRow, LedgerExport, Account, Countersignature, Departure),
    "Privacy statement": (
        statement.Statement,
        statement.Artefact,
        statement.PrivacyPredicate,
        statement.Cost,
        statement.Lifetime,
        statement.TrainingMechanism,
        statement.StatedCohort,
        statement.LedgerState,
        statement.CountersignedHead,
        statement.StatedRelease,
        statement.Software,
        statement.StatedAudit,
    ),
    "Audit": (Findings, Finding, AuditReport),
    "Report": (
        results.Results,
        results.Task,
        results.TrainingResult,
        results.MeasuredRun,
        results.SiteResult,
        results.RoundResult,
        results.MissingUpdate,
        results.PrivacyResult,
        results.ValidationResult,
        Measures,
        Estimate,
        results.FurtherResult,
        results.CurveResult,
        Curves,
        CalibrationPoint,
        NetBenefit,
        results.DescriptionResult,
        Description,
        NumberReading,
        CategoryReading,
        SecondMoments,
        PooledEffect,
    ),
    "Sweep": (
        contract_sweep.Sweep,
        contract_sweep.SweepArm,
        sweep.SweepResults,
        sweep.ArmResult,
        sweep.ArmFigures,
        sweep.Best,
    ),
    "Simulation": (
        comparison.Comparison,
        comparison.Division,
        comparison.Figure,
        comparison.Difference,
        comparison.Spread,
    ),
}
# Every class that the pages of records describe.
RECORDS = (*_PLAN, *(kind for kinds in _HEADINGS.values() for kind in kinds))
FOLDERS: dict[str, tuple[str, Sequence[File]]] = {
    "A hospital's folder": (
        "Named by `--folder` of `osteofed-site`. Nothing leaves it but through the gate: what has left "
        "is in `outbox/outbox.jsonl`. Back up `ledger/`, `keys/`, `linkage/`, `policy.yaml` and "
        "`approvals/`.",
        SITE,
    ),
    "The coordinator's folder": (
        "Named by `--home` of `osteofed-coordinator`. Holds weights and noised tables, nothing "
        "of a patient.",
        COORDINATOR,
    ),
    "A release": (
        "`runs/RUN/release/`: to be handed over as it is; a hospital on no roster reads with it.",
        RELEASE,
    ),
    "What a hospital hands over": (
        "Written where `--out` says; each is in the outbox before it is written. Names are free.",
        HANDED_OVER,
    ),
    "The auditor's files": ("Written where `--out` says.", AUDITOR),
    "A simulation": (
        "`osteofed-coordinator simulate --folder`; beside these, `coordinator/`, `sites/` and "
        "`ledgers/` are those of a real federation.",
        SIMULATION,
    ),
}
_INTRODUCTION = (
    "Capitals and `*` stand for what differs: RUN, STAGE, SITE, NAME of a cohort, N of its version. A "
    "file of an unknown version is refused by name, never guessed at; rows of a ledger are read in "
    "every earlier version too, since charges last for life."
)
_FORMS = (
    (
        "JSON, signed",
        "`signature` is Ed25519, in hex, over the canonical JSON (RFC 8785) of the rest: of `plan` in "
        "plan.json, of `content` or `witness` where there is one",
    ),
    ("JSON lines, signed", "an object a line, each with its own signature"),
    ("JSON, signed twice", "by the old and the new key"),
    ("DSSE", "an envelope of payload, type and signatures (Dead Simple Signing Envelope 1.0)"),
    ("sealed", "encrypted under a key of the site"),
    ("safetensors, NumPy", "arrays without code: a file that names Python objects is refused"),
)


def file_formats_page() -> str:
    """The page of all files."""
    parts = [_folder(title, *told) for title, told in FOLDERS.items()]
    forms = ["## How they are written", *table(("form", "is"), _FORMS)]
    return page("File formats", _INTRODUCTION, *parts, forms)


def plan_page() -> str:
    """The page of ``plan.json``."""
    introduction = (
        "`plan.json` is all that matters to privacy or to the result of one run, by value: a hospital "
        "needs no other file to judge it, and an auditor none to recount it. `osteofed-coordinator "
        "plan` writes it, `osteofed-site plan` shows it. The file is `{sha256, signature, plan}`: hash "
        "and the coordinator's signature of the object below. `task`, `encoder`, `fusion`, `learner`, "
        "`measure` and `strategy` are described in [settings](settings.md), `cohort` in "
        "[cohort schemas](cohort-schema.md)."
    )
    return page("plan.json", introduction, _sections(_PLAN, level=2))


def handed_over_page() -> str:
    """The page of the files that pass between the parties."""
    introduction = (
        "Fields of the files that hospitals, coordinator and auditor hand to each other, and of the "
        "reports that other programs may read. Where each lies and in which version is in "
        "[file formats](file-formats.md); plans have [a page of their own](plan.md)."
    )
    parts = [[f"## {title}", *_sections(kinds, level=3)] for title, kinds in _HEADINGS.items()]
    return page("Files that are handed over", introduction, *parts)


def _folder(title: str, told: str, files: Sequence[File]) -> Iterator[str]:
    rows = [(code(file.path), file.form, file.version_words, file.holds) for file in files]
    yield from (f"## {title}", "", told, *table(("file", "form", "version", "holds"), rows))


def _sections(kinds: Sequence[type], *, level: int) -> list[str]:
    shown = [section(kind, level=level, lines=field_table(kind)) for kind in kinds]
    elsewhere = {kind: f"settings.md#{anchor}" for kind, anchor in settings_anchors().items()}
    elsewhere |= {CohortSchema: "cohort-schema.md"}
    return linked([line for lines in shown for line in lines], kinds, elsewhere=elsewhere)
