"""A site's signed statement about one run: what was promised, how, what left, and what is not covered.

A DSSE envelope around an in-toto Statement v1. Its subjects are the artefacts that left the site, by
SHA-256, and the release if the site measured it; its predicate is ``PrivacyPredicate``. Figures that
need member lists (the dearest patient's) are the site's own and are bounded by an auditor's recount;
all others can be recomputed from the ledger's rows. The coordinator may sign the same bytes a second
time. Source: in-toto attestation framework, ``spec/v1/statement.md``; DSSE in ``signing.envelope``.
Imports envelope, plan and keys.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.contract.plan import HASH, Plan
from shared.contract.stages import GradientStage, Role
from shared.errors import AuditError
from shared.signing.canonical import canonical_json
from shared.signing.envelope import (
    Envelope,
    add_signature,
    read_envelope,
    require_signers,
    write_envelope,
)
from shared.signing.keys import SigningKey
from shared.strict import FROZEN

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
# Ours, and under nobody's domain: a URN of the experimental kind.
PREDICATE_TYPE: Final = "urn:x-osteofed:patient-privacy-statement:v3"
NO_GUARANTEE = "no formal privacy guarantee"
NOISE_SOURCE = "ChaCha20 keystream (RFC 8439) under keys from the operating system; no seed exists"

CAVEATS = (
    "A person treated at several hospitals is protected at each; for that person the epsilons add up.",
    "Releases of class governed are exact numbers that a named person approved; no epsilon covers "
    "them.",
    "Messages of class status (refusals, 'not ready yet') carry no noise and may tell that a count is "
    "below a published number.",
    "The coordinator sees which site took part in which round, and when.",
    "The statement holds for the installed code named here, run as installed. It does not protect "
    "against the hospital's own administrator.",
    "An epsilon bounds what can be learned about one patient. It says nothing about how well the model "
    "reads, and the software is not a medical device.",
)

_NAMED = ConfigDict(**FROZEN, populate_by_name=True, serialize_by_alias=True)


class TrainingMechanism(BaseModel):
    """What every noised sum of training was, as the plan fixed it before the first touch.

    Attributes:
        name: of the mechanism.
        clip_norm: largest L2 norm of one patient's gradient; null: a learner's rows have the bound that
            its settings give.
        noise_multipliers: noise's standard deviation over the bound, for every round or for each.
        sample_rate: probability with which a step drew a patient.
        steps: noised sums of the whole run.
        rounds: messages of the site.
        update_norm_max: largest L2 norm of what left in a round; null as ``clip_norm``.
    """

    model_config = FROZEN

    name: str
    clip_norm: float | None
    noise_multipliers: tuple[float, ...]
    sample_rate: float
    steps: int
    rounds: int
    update_norm_max: float | None


class Cost(BaseModel):
    """ε of the run at ``delta``; null where no formal guarantee is given.

    Attributes:
        delta: δ of every ε here.
        planned_epsilon: of training, as registered in the signed plan.
        training_epsilon: of all charges for training, as if they hit one patient.
        run_epsilon: of the dearest patient over training and validation, by the site's member lists.
        n_unprotected: charges without noise.
        accountant: what added the costs up.
        accountant_version: of the library; empty where nothing was noised.
    """

    model_config = FROZEN

    delta: float
    planned_epsilon: float | None
    training_epsilon: float | None
    run_epsilon: float | None
    n_unprotected: int
    accountant: str
    accountant_version: str


class Lifetime(BaseModel):
    """The dearest patient's ε over all runs, by the filter that enforces the cap; at one δ each.

    Attributes:
        epsilon: spent.
        delta: δ of it.
        filter: that enforces the cap.
        epsilon_cap: most that all runs together may cost.
        delta_cap: δ of the cap.
        n_unprotected: charges without noise.
    """

    model_config = FROZEN

    epsilon: float
    delta: float
    filter: str
    epsilon_cap: float
    delta_cap: float
    n_unprotected: int


class CountersignedHead(BaseModel):
    """The newest head of the ledger that the coordinator has signed.

    Attributes:
        index: of its row.
        head_sha256: hash of its row.
        plan_sha256: plan under which it was signed.
        coordinator_key: that signed.
        signature: of the coordinator.
    """

    model_config = FROZEN

    index: int
    head_sha256: str = Field(pattern=HASH)
    plan_sha256: str = Field(pattern=HASH)
    coordinator_key: str = Field(pattern=HASH)
    signature: str


class LedgerState(BaseModel):
    """Where the ledger stood when the statement was made.

    Attributes:
        head_sha256: hash of its last row.
        head_index: index of its last row.
        countersigned: newest head that the coordinator has signed; null: none.
    """

    model_config = FROZEN

    head_sha256: str = Field(pattern=HASH)
    head_index: int
    countersigned: CountersignedHead | None


class StatedCohort(BaseModel):
    """Patients that one or more charges of the run touched.

    Attributes:
        cohort_id: a hash over keyed pseudonyms.
        purposes: of the charges.
    """

    model_config = FROZEN

    cohort_id: str = Field(pattern=HASH)
    purposes: tuple[str, ...]


class StatedRelease(BaseModel):
    """One message that left and that a patient had a part in.

    Attributes:
        utc: the hour in which it left.
        channel: what was asked, for example ``train``.
        release_class: ``dp``, ``governed`` or ``off``.
        payload_sha256: hash of the packed message.
        epsilon: that it cost; null: nothing formal.
    """

    model_config = FROZEN

    utc: str
    channel: str
    release_class: str
    payload_sha256: str = Field(pattern=HASH)
    epsilon: float | None


class Software(BaseModel):
    """What the site has installed, and the code the plan was written for.

    Attributes:
        code_sha256: hash of the installed code.
        plan_code_sha256: hash that the plan names.
        environment_sha256: hash over names and versions of all that is installed; hospitals differ.
        python: its version.
        torch: its version.
        opacus: its version.
    """

    model_config = FROZEN

    code_sha256: str = Field(pattern=HASH)
    plan_code_sha256: str = Field(pattern=HASH)
    environment_sha256: str = Field(pattern=HASH)
    python: str
    torch: str
    opacus: str


class StatedAudit(BaseModel):
    """What an auditor signed about this site's part in the run, by one method.

    Attributes:
        method: its name.
        verdict: ``pass``, ``fail`` or ``not-run``.
        auditor_key: that signed the report.
        report_sha256: hash of the signed report's file.
    """

    model_config = FROZEN

    method: str
    verdict: str
    auditor_key: str = Field(pattern=HASH)
    report_sha256: str = Field(pattern=HASH)


class PrivacyPredicate(BaseModel):
    """All that a site states about one run.

    Attributes:
        version: of this format.
        site: who states it.
        run: the run.
        role: of the site in it.
        plan_sha256: hash of the plan.
        issued_utc: the hour in which it was stated.
        unit: whom the guarantee is for.
        adjacency: which two cohorts are told apart.
        trust_tier: who adds the noise: the site itself.
        guarantee: in words.
        cost: of this run.
        lifetime: of all runs.
        mechanism: of training; null at a site that took no part in it.
        noise_source: where noise is drawn from.
        declared_patients: the size bucket that the hospital publishes, never a count.
        cohorts: patients that were touched.
        ledger: where the ledger stood.
        releases: messages that a patient had a part in.
        n_other_messages: messages for which no patient was touched, by class.
        governed_by: who answers for governed releases.
        software: what is installed.
        audits: verdicts of an auditor.
        caveats: what is not covered, in words.
    """

    model_config = FROZEN

    version: Literal[3] = 3
    site: str
    run: str
    role: Literal["training", "external"]
    plan_sha256: str = Field(pattern=HASH)
    issued_utc: str
    unit: Literal["patient"] = "patient"
    adjacency: Literal["add/remove"] = "add/remove"
    trust_tier: Literal["T1 local"] = "T1 local"
    guarantee: str
    cost: Cost
    lifetime: Lifetime
    mechanism: TrainingMechanism | None
    noise_source: str
    declared_patients: int
    cohorts: tuple[StatedCohort, ...]
    ledger: LedgerState
    releases: tuple[StatedRelease, ...]
    n_other_messages: dict[str, int]
    governed_by: tuple[str, ...]
    software: Software
    audits: tuple[StatedAudit, ...] = ()
    caveats: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _says_in_words_what_is_not_promised(self) -> PrivacyPredicate:
        if (NO_GUARANTEE in self.guarantee) != (self.cost.n_unprotected > 0):
            raise ValueError(f"guarantee must say {NO_GUARANTEE!r} if a charge had no noise, only then")
        return self


class Artefact(BaseModel):
    """One artefact.

    Attributes:
        name: what it is.
        digest: its SHA-256.
    """

    model_config = FROZEN

    name: str
    digest: dict[Literal["sha256"], str]

    @property
    def sha256(self) -> str:
        """The artefact's hash."""
        return self.digest["sha256"]


class Statement(BaseModel):
    """An in-toto Statement v1 with our predicate.

    Attributes:
        type_: of the statement.
        subject: artefacts that left the site, and the release if the site measured it.
        predicate_type: of what is stated.
        predicate: what is stated.
    """

    model_config = _NAMED

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type", default=STATEMENT_TYPE)
    subject: tuple[Artefact, ...] = Field(min_length=1)
    predicate_type: Literal["urn:x-osteofed:patient-privacy-statement:v3"] = Field(
        alias="predicateType", default=PREDICATE_TYPE
    )
    predicate: PrivacyPredicate


def mechanism_of(plan: Plan, role: Role) -> TrainingMechanism | None:
    """What training of a plan does at a site of a role; None where the site has no part in it."""
    stage = plan.trained
    if stage is None or role not in stage.roles:
        return None
    by_gradients = stage if isinstance(stage, GradientStage) else None
    return TrainingMechanism(
        name=plan.predicted.mechanism,
        clip_norm=by_gradients and by_gradients.clip_norm,
        noise_multipliers=stage.noise_multipliers,
        sample_rate=by_gradients.sample_rate if by_gradients else 1.0,
        steps=by_gradients.total_steps if by_gradients else stage.rounds,
        rounds=stage.rounds,
        update_norm_max=by_gradients and by_gradients.update_norm_max,
    )


def sign_statement(statement: Statement, key: SigningKey) -> Envelope:
    """The statement in an envelope with the site's signature."""
    payload = canonical_json(statement.model_dump(mode="json", by_alias=True))
    return add_signature(Envelope(payload_type=PAYLOAD_TYPE, payload=payload), key)


def countersign_statement(envelope: Envelope, key: SigningKey) -> Envelope:
    """The envelope with the coordinator's signature after the site's.

    Says that the coordinator has seen exactly this statement, not that it is true.

    Raises:
        AuditError: it is not a statement, or its signatures are not genuine.
    """
    open_statement(envelope)
    require_signers(envelope, [])
    return add_signature(envelope, key)


def write_statement(path: Path, envelope: Envelope) -> None:
    """Write a signed statement."""
    write_envelope(path, envelope)


def read_statement(path: Path) -> Envelope:
    """Read a statement's envelope to countersign it; nothing is verified yet.

    Raises:
        AuditError: not an envelope, or not in its one form.
    """
    return read_envelope(path, payload_type=PAYLOAD_TYPE)


def verify_statement(path: Path, site_key: str, coordinator_key: str | None = None) -> Statement:
    """Read a statement and check who signed it.

    Args:
        path: the file that `osteofed-site statement` wrote.
        site_key: the site's public key, known from enrolment and not from the statement.
        coordinator_key: a key that must have signed too; None asks for the site's only.

    Raises:
        AuditError: changed in any byte, not signed by these keys, or not such a statement.
    """
    envelope = read_statement(path)
    wanted = [site_key] if coordinator_key is None else [site_key, coordinator_key]
    require_signers(envelope, wanted)
    return open_statement(envelope)


def open_statement(envelope: Envelope) -> Statement:
    """The statement in an envelope, whoever signed it.

    Raises:
        AuditError: the payload is no statement of this version.
    """
    try:
        return Statement.model_validate(json.loads(envelope.payload))
    except (ValueError, ValidationError) as error:
        raise AuditError(
            "unreadable-statement",
            f"the envelope holds no privacy statement of this version: {type(error).__name__}",
            hint="install the release of OsteoFed that wrote this statement",
        ) from None
