"""A coordinator that tries everything gets a code, and the site is as it was before.

Every case goes through the real ClientApp of a site whose people approved whatever they were shown;
policy, ledger and gate must hold alone.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from practice_lock import accrue_later, lock_for
from practice_site import CONFIGS, clock
from table_site import TableSites
from test_app import send

import client.answers.hello
from client.answers.answer import charge_for
from client.gate.gate import Gate, Prepared
from client.site.approved import Approved, approved_plan
from server.federation.plan import resolve_stages, shared_settings
from shared.contract.plan import Plan, write_plan
from shared.contract.protocol import (
    PROTOCOL_VERSION,
    Hello,
    Refusal,
    SumReply,
    SumRequest,
    WeightsChunk,
    Wire,
    from_record,
    to_record,
)
from shared.contract.settings import read_settings
from shared.errors import OsteoFedError
from shared.privacy.cost import predict_cost
from shared.signing.canonical import canonical_json, hash_file, hash_of, sha256_hex
from shared.signing.countersign import countersign
from shared.signing.keys import SigningKey, create_key, load_key
from shared.stages.stage_sum import Bound

Content = dict[str, dict[str, object]]
Asked = tuple[RecordDict, str]
Prepare = Callable[[TableSites], Asked]


def coordinator(sites: TableSites) -> SigningKey:
    return load_key(sites.folder / "coordinator" / "keys" / "coordinator.pem")


def approved(
    sites: TableSites,
    change: Callable[[Content], object] = lambda _: None,
    *,
    stages: Callable[[Content], object] = lambda _: None,
    lie: Mapping[str, object] | None = None,
    own: Mapping[str, object] | None = None,
    name: str = "elm",
    **changes: object,
) -> str:
    """Hash of a changed plan that somebody at the site has approved without looking.

    Args:
        change: edits the settings that the stages are resolved from.
        stages: edits the stages, by name.
        lie: what the plan says of its cost, where that is not the truth.
        own: changes of the site's entry on the roster.
    """
    plan = Plan.model_validate(
        drafted(sites, change, stages=stages, lie=lie, own=own, name=name) | changes
    )
    path = sites.folder / "another-plan.json"
    write_plan(path, plan, coordinator(sites))
    approvals = sites.site(name).approvals
    approvals.decide(approvals.import_plan(path), "approved", by="Care Less", now=clock())
    return plan.sha256


def drafted(
    sites: TableSites,
    change: Callable[[Content], object],
    *,
    stages: Callable[[Content], object],
    lie: Mapping[str, object] | None,
    own: Mapping[str, object] | None,
    name: str,
) -> dict[str, object]:
    """The content of a changed plan, arguments as ``approved``."""
    content, training = sites.plan.model_dump(mode="json"), sites.training
    asked: Content = sites.asked.model_dump(mode="json")
    asked["privacy"]["noise_multiplier"] = training.noise_multiplier
    asked["privacy"]["update_norm_max"] = training.update_norm_max
    change(asked)
    settings = read_settings(asked)
    resolved = resolve_stages(settings, n_parameters=sites.weights.size, declared={"training": (100,)})
    with contextlib.suppress(OsteoFedError):  # then the stated cost stays what it was
        predicted = predict_cost(resolved, delta=settings.privacy.delta)
        content["predicted"] = predicted.model_dump(mode="json")
    by_name: Content = {stage.name: stage.model_dump(mode="json") for stage in resolved}
    stages(by_name)
    return content | {
        "settings": shared_settings(settings).model_dump(mode="json"),
        "stages": list(by_name.values()),
        "predicted": content["predicted"] | dict(lie or {}),
        "roster": [
            entry | dict(own or {}) if entry["site"] == name else entry for entry in content["roster"]
        ],
    }


def written_by_hand(stages: Callable[[Content], object]) -> Prepare:
    """Round 2 of an approved plan that no coordinator of this project can write."""

    def prepare(sites: TableSites) -> Asked:
        request = sites.train_request()
        content = drafted(sites, lambda _: None, stages=stages, lie=None, own=None, name="elm")
        sha256 = sha256_hex(canonical_json(content))
        envelope = {
            "sha256": sha256,
            "signature": coordinator(sites).sign(canonical_json(content)),
            "plan": content,
        }
        site = sites.site()
        (site.folder / "plans" / f"{sha256}.json").write_text(json.dumps(envelope))
        named = sites.plan.model_copy()
        named.__dict__["sha256"] = sha256
        site.approvals.decide(named, "approved", by="Care Less", now=clock())
        return to_record(replace(request, plan_sha256=sha256)), "train"

    return prepare


def train(sites: TableSites, **changes: object) -> Asked:
    return to_record(sites.train_request(**changes)), "train"


def measure(sites: TableSites, stage: str = "internal", **changes: object) -> Asked:
    return to_record(sites.measure_request(stage, **changes)), "train"


def under(change: Callable[[Content], object] = lambda _: None, **rest: object) -> Prepare:
    """A round of a changed plan."""
    return lambda sites: train(sites, plan_sha256=approved(sites, change, **rest))  # type: ignore[arg-type]


def with_policy(asked: Prepare, **policy: object) -> Prepare:
    """The hospital's policy says otherwise."""

    def prepare(sites: TableSites) -> Asked:
        record = asked(sites)
        sites.change_policy(**policy)
        return record

    return prepare


def set_in(group: str, **values: object) -> Callable[[Content], object]:
    """In a group of the settings, or in a stage."""
    return lambda content: content[group].update(values)


def add_stage(like: str, **values: object) -> Callable[[Content], object]:
    """One more stage, as another one but for some values."""
    return lambda stages: stages.update({"one more": stages[like] | values})


def plan_changed_after_approval(sites: TableSites) -> Asked:
    record = sites.train_request()
    folder = sites.site().folder / "plans"
    kept = (folder / f"{sites.plan_sha256}.json").read_bytes()
    louder = approved(sites, set_in("privacy", clip_norm=0.25))
    shutil.copy(folder / f"{louder}.json", folder / f"{sites.plan_sha256}.json")
    assert kept != (folder / f"{sites.plan_sha256}.json").read_bytes()
    return to_record(record), "train"


def plan_of_another_key(sites: TableSites) -> Asked:
    record = sites.train_request()
    stranger = create_key(sites.folder / "stranger.pem")
    plan = Plan.model_validate(sites.plan.model_dump() | {"coordinator_key": stranger.public_hex})
    own = sites.site().folder
    write_plan(own / "plans" / f"{plan.sha256}.json", plan, stranger)
    approval = json.loads((own / "approvals" / f"{sites.plan_sha256}.json").read_bytes())
    forged = approval | {"plan_sha256": plan.sha256}
    (own / "approvals" / f"{plan.sha256}.json").write_text(json.dumps(forged))
    return to_record(replace(record, plan_sha256=plan.sha256)), "train"


def plan_that_was_only_sent(sites: TableSites) -> Asked:
    request = sites.train_request()
    plan = Plan.model_validate(sites.plan.model_dump() | {"run": "another-run"})
    path = sites.folder / "sent.json"
    write_plan(path, plan, coordinator(sites))
    sites.site().approvals.import_plan(path)
    return to_record(replace(request, plan_sha256=plan.sha256)), "train"


def vector(values: np.ndarray) -> Prepare:
    return lambda sites: train(sites, vector=values.astype(np.float32))


def spoilt(value: float, make: Callable[..., Asked]) -> Prepare:
    def prepare(sites: TableSites) -> Asked:
        weights = sites.weights
        weights[3] = value
        return make(sites, vector=weights)

    return prepare


def replayed(sites: TableSites) -> Asked:
    sites.answer(sites.train_request())
    return train(sites, vector=sites.weights + np.float32(1e-4))


def head_of(sites: TableSites, *, head: str | None = None, plan: str | None = None) -> Asked:
    """Round 2 with a genuine countersignature, of whatever is named."""
    sites.answer(sites.train_request(round=1))
    named = head or sites.gate().ledger.head().sha256
    return train(sites, round=2, **countersigned(sites, named, plan=plan))


def countersigned(sites: TableSites, head: str, *, plan: str | None = None) -> dict[str, object]:
    """Fields of a request with a genuine countersignature of elm's head."""
    signature = countersign(
        coordinator(sites), site="elm", plan_sha256=plan or sites.plan_sha256, ledger_head=head
    )
    return {"ledger_head": head, "countersignature": signature}


def ledger_put_back(sites: TableSites) -> Asked:
    folder = sites.site().folder
    sites.gate()
    shutil.copytree(folder / "ledger", folder / "copy")
    sites.answer(sites.train_request(round=1))
    shutil.rmtree(folder / "ledger")
    (folder / "copy").rename(folder / "ledger")
    return train(sites, round=2)


def second_release(sites: TableSites) -> Asked:
    sites.answer(sites.measure_request())
    return measure(sites, release_sha256="e" * 64)


def describe(sites: TableSites, **changes: object) -> Asked:
    """Who are your patients?"""
    return measure(sites, "description", **changes)


def described(
    lie: Mapping[str, object] | None = None,
    then: Callable[..., Asked] = describe,
    stages: Callable[[Content], object] = lambda _: None,
    **changes: object,
) -> Prepare:
    """The same, under a plan that releases it and a policy that can afford it."""

    def prepare(sites: TableSites) -> Asked:
        plan_sha256 = approved(
            sites, set_in("validation", description_epsilon=1.0), lie=lie, stages=stages
        )
        sites.change_policy(epsilon_per_run=6.0)
        return then(sites, plan_sha256=plan_sha256, **changes)

    return prepare


def described_before(sites: TableSites, **changes: object) -> Asked:
    """A second description that is not the first one again."""
    record, message_type = describe(sites, plan_sha256=changes["plan_sha256"])
    first = from_record(send(sites.site().folder, record, message_type).content, SumReply)
    assert first.status == "measured"
    return describe(sites, **changes)


def locked(**changes: object) -> Prepare:
    """Prospective validation of something else than what the lock froze."""

    def prepare(sites: TableSites) -> Asked:
        lock, path = lock_for(sites)
        accrue_later(sites, path, range(300, 340))
        wanted = {"lock_sha256": lock.sha256} | changes
        if "vector" in changes:
            wanted["vector"] = sites.weights + np.float32(1e-4)
        return measure(sites, "prospective", **wanted)

    return prepare


def not_a_lock(sites: TableSites) -> Asked:
    lock, path = lock_for(sites)
    accrue_later(sites, path, range(300, 340))
    (sites.site().folder / "locks" / f"{lock.sha256}.json").write_text('{"lock": "x"}')
    return measure(sites, "prospective", lock_sha256=lock.sha256)


def chunk(sites: TableSites, *, encoder: bool = True, **changes: object) -> Asked:
    plan_sha256 = sites.plan_sha256
    if encoder:
        plan_sha256 = approved(sites, name_encoder, encoder_sha256="0" * 64)
    values = {"file_sha256": "0" * 64, "index": 0, "n_chunks": 2, "data": b"x"} | changes
    return to_record(WeightsChunk(plan_sha256=plan_sha256, **values)), "query.weights"  # type: ignore[arg-type]


def name_encoder(settings: Content) -> None:
    named = {"name": "tiny", "weights": "w", "sha256": "0" * 64, "token_channels": 4, "token_grid": 2}
    settings["encoder"].update(named)
    settings["cohort"]["views"] = yaml.safe_load((CONFIGS / "cohort" / "hip_bmd.yaml").read_text())[
        "views"
    ]


def scalars(message: Wire, **changes: object) -> RecordDict:
    """A message's records with scalars added, changed or, given None, left out."""
    record = to_record(message)
    values = {**dict(record["message"]), **changes}  # type: ignore[call-overload]
    record["message"] = ConfigRecord(
        {name: value for name, value in values.items() if value is not None}
    )
    return record


def arrays(message: Wire, values: np.ndarray) -> RecordDict:
    record = to_record(message)
    record["arrays"] = ArrayRecord({"vector": Array(values)})
    return record


def unreadable_policy(sites: TableSites) -> Asked:
    asked = train(sites)
    (sites.site().folder / "policy.yaml").write_text("allowed: everything")
    return asked


@dataclass(frozen=True)
class Case:
    """What is asked, the code that leaves, words of the reason in the site's log, charges added.

    ``opens``: the site's gate can be opened at all.
    """

    ask: Prepare
    code: str
    because: str = ""
    site: str = "elm"
    n_charges: int = 0
    opens: bool = True


FORBIDDEN = "policy.plan-forbidden"
HOSTILE = {
    # plans
    "a plan exchanged after approval": Case(plan_changed_after_approval, "plan.other-than-approved"),
    "a plan by another key, approval copied": Case(plan_of_another_key, "plan.forged-approval"),
    "a plan that was sent, not approved": Case(plan_that_was_only_sent, "plan.not-approved"),
    "epsilon above the cap": Case(
        under(set_in("privacy", noise_multiplier=1.0)), FORBIDDEN, "above the cap of 3 per run"
    ),
    "delta above the cap": Case(under(set_in("privacy", delta=1e-4)), FORBIDDEN, "delta 0.0001"),
    "too little noise": Case(under(set_in("privacy", noise_multiplier=0.99)), FORBIDDEN, "the floor"),
    "too little noise for any accountant": Case(
        under(set_in("privacy", noise_multiplier=0.01)), FORBIDDEN, "at least 0.3"
    ),
    "no noise, called dp": Case(
        written_by_hand(set_in("train", noise_multipliers=[0.0])), "plan.not-valid"
    ),
    "noise of the first round in every round, charged as more": Case(
        written_by_hand(set_in("train", noise_multipliers=[2.41, 99.0, 99.0])), "plan.not-valid"
    ),
    "a table of everybody where they trained": Case(
        under(stages=set_in("external", roles=["training"])),
        FORBIDDEN,
        "must not measure a release on the patients who trained it",
    ),
    "noise for fewer rounds than there are": Case(
        written_by_hand(set_in("train", noise_multipliers=[9.0, 9.0])), "plan.not-valid"
    ),
    "exact numbers from training": Case(
        written_by_hand(set_in("train", release_class="governed", noise_multipliers=[0.0])),
        "plan.not-valid",
    ),
    "exact counts of pairs of patients' values": Case(
        written_by_hand(
            add_stage(
                "internal",
                name="description",
                kind="description",
                release_class="governed",
                noise_multipliers=[0.0],
                has_second_moments=True,
            )
        ),
        "plan.not-valid",
    ),
    "two stages of one name": Case(written_by_hand(add_stage("internal")), "plan.not-valid"),
    "a stage of a kind that nobody knows": Case(
        written_by_hand(set_in("internal", kind="everything")), "plan.not-valid"
    ),
    "a table of those who trained": Case(
        under(stages=add_stage("internal", name="again", patients="train")),
        FORBIDDEN,
        "must not measure a release on the patients who trained it",
    ),
    "a second training that the cost leaves out": Case(
        under(stages=add_stage("train", name="again")), FORBIDDEN, "above the cap of 3 per run"
    ),
    "training by the name of a table, where only tables are allowed": Case(
        written_by_hand(
            add_stage("train", name="external_again", roles=["external"], patients="everybody")
        ),
        "plan.not-valid",
    ),
    "training where only tables are allowed": Case(
        with_policy(train, allowed=["evaluate.internal"]), FORBIDDEN, "train is not allowed here"
    ),
    "privacy off, nothing clipped": Case(
        under(set_in("privacy", mode="off", noise_multiplier=0.0)), FORBIDDEN, "privacy is off"
    ),
    "a cost stated too low": Case(
        under(lie={"training_epsilon": 0.1}), FORBIDDEN, "does not state its true cost"
    ),
    "a validation cost stated too low": Case(
        under(lie={"validation_epsilon": 0.1}), FORBIDDEN, "does not state its true cost"
    ),
    "less noise on the table than stated": Case(
        under(stages=set_in("internal", noise_multipliers=[1.3])),
        FORBIDDEN,
        "does not state its true cost",
    ),
    "a group of patients left out of the cost": Case(
        under(lie={"splits": []}), FORBIDDEN, "does not state its true cost"
    ),
    "another unit of privacy": Case(
        under(lie={"mechanism": "Gaussian on images"}), FORBIDDEN, "does not state its true cost"
    ),
    "a table dearer than the cap": Case(
        under(set_in("validation", epsilon=8.0)), FORBIDDEN, "validation costs epsilon"
    ),
    "amplification by sampling that the cost leaves out": Case(
        under(set_in("privacy", sample_rate=0.1), lie={"training_epsilon": 0.01}),
        FORBIDDEN,
        "does not state its true cost",
    ),
    "sampling that costs more than the cap, stated truly": Case(
        under(set_in("privacy", sample_rate=0.9, noise_multiplier=1.0)),
        FORBIDDEN,
        "above the cap of 3 per run",
    ),
    "more canaries than the hospital has memory for": Case(
        under(set_in("privacy", canaries=6000)), FORBIDDEN, "6000 canaries are more than the 5000"
    ),
    "canaries where none are allowed": Case(
        with_policy(under(set_in("privacy", canaries=10)), maximum_canaries=0),
        FORBIDDEN,
        "10 canaries are more than the 0",
    ),
    "a bound that bounds nothing": Case(
        under(set_in("privacy", update_norm_max=1e9)), FORBIDDEN, "bounds nothing"
    ),
    "rounds without number": Case(written_by_hand(set_in("train", rounds=None)), "plan.not-valid"),
    "an update without a bound": Case(
        written_by_hand(set_in("train", update_norm_max=None)), "plan.not-valid"
    ),
    "ten thousand rounds": Case(
        under(set_in("federation", rounds=10_000)), FORBIDDEN, "above the cap of 3 per run"
    ),
    "exact numbers without permission": Case(
        under(set_in("validation", release_class="governed")), FORBIDDEN, "governed releases"
    ),
    "exact numbers from single patients": Case(
        with_policy(
            under(set_in("validation", release_class="governed", minimum_cell=1)),
            allows_governed=True,
            governed_approved_by="Ada Byron",
        ),
        FORBIDDEN,
        "minimum cell 1 is below",
    ),
    "prospective tables of one patient": Case(
        under(set_in("validation", prospective_patients=1)),
        FORBIDDEN,
        "prospective_patients 1 is below",
    ),
    "a task that is not allowed": Case(
        with_policy(train, allowed_tasks=["osteoporosis"]), FORBIDDEN, "task malignancy"
    ),
    "a smaller declared size": Case(
        under(own={"declared_patients": 1}), "plan.wrong-entry", "declares 1 patients"
    ),
    "another key in the site's name": Case(
        under(own={"public_key": "7" * 64}), "plan.wrong-entry", "names key 777777777777"
    ),
    "a roster without the site": Case(under(own={"site": "elmo"}), "plan.not-on-roster"),
    "a role that the site has not": Case(train, "plan.wrong-role", site="hop"),
    "other code": Case(under(code_sha256="9" * 64), "plan.other-code"),
    "a cohort that was never taken in": Case(
        under(set_in("cohort", name="everybody")), "intake.no-cohort"
    ),
    # policy and budget
    "answers sooner than the hospital lets them leave": Case(
        with_policy(train, reply_quantum_floor_s=30), FORBIDDEN, "below this hospital's floor of 30"
    ),
    "no last day where the hospital asks for one": Case(
        with_policy(train, valid_until_within_days=30), FORBIDDEN, "the plan has no last day"
    ),
    "validation where it is not allowed": Case(
        with_policy(measure, allowed=["train"]), "policy.purpose-forbidden"
    ),
    "a cohort below the minimum": Case(
        with_policy(train, minimum_cohort_patients=1000), "policy.cohort-too-small"
    ),
    "a held-out split below the minimum": Case(
        with_policy(measure, minimum_cell=60), FORBIDDEN, "minimum cell of 60"
    ),
    "a lifetime that is used up": Case(
        with_policy(train, epsilon_lifetime=0.1), "privacy.budget-exhausted"
    ),
    "a policy that nobody can read": Case(unreadable_policy, "policy.invalid", opens=False),
    # requests for a round
    "another plan's hash": Case(lambda it: train(it, plan_sha256="b" * 64), "plan.not-approved"),
    "a path for a hash": Case(
        lambda it: train(it, plan_sha256="../../keys/signing"), "plan.not-approved"
    ),
    "a path to the approval": Case(
        lambda it: train(it, plan_sha256=f"../approvals/{it.plan_sha256}"), "plan.not-approved"
    ),
    "a hash of a megabyte": Case(
        lambda it: train(it, plan_sha256="a" * (1 << 20)), "plan.not-approved"
    ),
    "round 0": Case(lambda it: train(it, round=0), "protocol.no-such-round"),
    "a round beyond the last": Case(lambda it: train(it, round=4), "protocol.no-such-round"),
    "a round before time": Case(lambda it: train(it, round=-1), "protocol.no-such-round"),
    "a round without end": Case(lambda it: train(it, round=2**62), "protocol.no-such-round"),
    "a first round from other weights than the plan's": Case(
        lambda it: train(it, round=1, vector=it.weights), "protocol.wrong-initial-weights"
    ),
    "a stage that the plan does not have": Case(
        lambda it: train(it, stage="retrain"), "plan.no-such-stage"
    ),
    "a stage named by a path": Case(
        lambda it: train(it, stage="../../keys/signing"), "plan.no-such-stage"
    ),
    "a round that names a release": Case(
        lambda it: train(it, release_sha256="e" * 64), "protocol.unwanted-release"
    ),
    "a round under a lock": Case(
        lambda it: train(it, lock_sha256="e" * 64), "protocol.unwanted-release"
    ),
    "weights that no training reaches": Case(spoilt(1000.5, train), "protocol.weights-too-large"),
    "a table asked with weights that no training reaches": Case(
        spoilt(-1e6, measure), "protocol.weights-too-large"
    ),
    "a round replayed with other weights": Case(replayed, "privacy.round-repeated"),
    "weights that are no number": Case(spoilt(np.nan, train), "protocol.unsound-weights"),
    "weights without end": Case(spoilt(-np.inf, train), "protocol.unsound-weights"),
    "weights in another precision": Case(
        lambda it: train(it, vector=it.weights.astype(np.float64)), "protocol.unsound-weights"
    ),
    "a table asked with weights that are no number": Case(
        spoilt(np.nan, measure), "protocol.unsound-weights"
    ),
    "one weight too few": Case(lambda it: train(it, vector=it.weights[:-1]), "protocol.wrong-shape"),
    "one weight too many": Case(
        lambda it: train(it, vector=np.append(it.weights, np.float32(0))), "protocol.wrong-shape"
    ),
    "no weights": Case(vector(np.zeros(0)), "protocol.wrong-shape"),
    "a table asked with one weight too few": Case(
        lambda it: measure(it, vector=it.weights[:-1]), "protocol.wrong-shape"
    ),
    "a table asked with one weight too many": Case(
        lambda it: measure(it, vector=np.append(it.weights, np.float32(0))), "protocol.wrong-shape"
    ),
    "weights in rows": Case(vector(np.zeros((2, 21))), "protocol.malformed"),
    "weights in whole numbers": Case(
        lambda it: (arrays(it.train_request(), np.zeros(42, dtype=np.int32)), "train"),
        "protocol.malformed",
    ),
    "a countersignature of one's own making": Case(
        lambda it: train(it, ledger_head="1" * 64, countersignature="2" * 128),
        "ledger.bad-countersignature",
    ),
    "a head that the ledger never had": Case(lambda it: head_of(it, head="1" * 64), "ledger.behind"),
    "a head signed for another plan": Case(
        lambda it: head_of(it, plan="3" * 64), "ledger.bad-countersignature"
    ),
    "a ledger put back from a copy": Case(ledger_put_back, "ledger.behind", opens=False),
    # requests for a table
    "an unknown validation": Case(lambda it: measure(it, "everything"), "plan.no-such-stage"),
    "internal validation at an external site": Case(measure, "plan.wrong-role", site="hop"),
    "external validation at a training site": Case(
        lambda it: measure(it, "external"), "plan.wrong-role"
    ),
    "a table asked with a countersignature of one's own making": Case(
        lambda it: measure(it, ledger_head="1" * 64, countersignature="2" * 128),
        "ledger.bad-countersignature",
    ),
    "a table asked with a head that the ledger never had": Case(
        lambda it: measure(it, **countersigned(it, "1" * 64)), "ledger.behind"
    ),
    "a release without a hash": Case(
        lambda it: measure(it, release_sha256="the best one"), "protocol.no-such-release"
    ),
    "a release named by a path": Case(
        lambda it: measure(it, release_sha256="../" * 20 + "keys"), "protocol.no-such-release"
    ),
    "a second release under one plan": Case(second_release, "privacy.round-repeated"),
    "a prospective table without a lock": Case(lambda it: measure(it, "prospective"), "plan.no-lock"),
    "a lock that nobody accepted": Case(
        lambda it: measure(it, "prospective", lock_sha256="a" * 64), "plan.no-lock"
    ),
    "a path for a lock": Case(
        lambda it: measure(it, "prospective", lock_sha256="../site"), "plan.no-lock"
    ),
    "an accepted lock whose file is no lock any more": Case(not_a_lock, "weights.unreadable"),
    "the lock of another release": Case(
        locked(release_sha256="e" * 64), "protocol.not-the-locked-release"
    ),
    "other weights than the locked ones": Case(locked(vector=()), "protocol.not-the-locked-release"),
    # requests for a description
    "a description that the plan does not release": Case(describe, "plan.no-such-stage"),
    "a description with weights": Case(
        described(vector=np.zeros(42, dtype=np.float32)), "protocol.wrong-shape"
    ),
    "a description of a release": Case(described(release_sha256="e" * 64), "protocol.unwanted-release"),
    "a description under a lock": Case(described(lock_sha256="a" * 64), "protocol.unwanted-release"),
    "a second description with other weights": Case(
        described(then=described_before, vector=np.ones(1, dtype=np.float32)),
        "protocol.wrong-shape",
    ),
    "a description by another name": Case(
        described(then=described_before, release_sha256="1" * 64), "protocol.unwanted-release"
    ),
    "a description with less noise than stated": Case(
        described(stages=set_in("description", noise_multipliers=[3.0])),
        FORBIDDEN,
        "does not state its true cost",
    ),
    "a description cheaper than it is": Case(
        described(lie={"description_epsilon": 0.1}), FORBIDDEN, "description epsilon 0.99"
    ),
    "a description that the plan keeps quiet about": Case(
        described(lie={"description_epsilon": 0.0}),
        FORBIDDEN,
        "does not state its true cost",
    ),
    "a description beyond what training leaves of the cap": Case(
        with_policy(described(), epsilon_per_run=3.0), FORBIDDEN, "training with the description costs"
    ),
    "training under a plan whose description breaks the cap": Case(
        with_policy(described(then=train), epsilon_per_run=3.0), FORBIDDEN, "with the description costs"
    ),
    "a description where it is not allowed": Case(
        with_policy(described(), allowed=["train", "evaluate.internal"]), "policy.purpose-forbidden"
    ),
    "a description that a lifetime cannot pay": Case(
        with_policy(described(), epsilon_lifetime=0.1), "privacy.budget-exhausted"
    ),
    "a table for a second round": Case(lambda it: measure(it, round=2), "protocol.no-such-round"),
    "a table for round 0": Case(lambda it: measure(it, round=0), "protocol.no-such-round"),
    "a description for a second round": Case(described(round=2), "protocol.no-such-round"),
    "a stage whose name paints the terminal": Case(
        written_by_hand(add_stage("internal", name="x\x1b[2Jepsilon 0.1")), "plan.not-valid"
    ),
    "weights of complex numbers": Case(
        lambda it: (arrays(it.train_request(), it.weights.astype(np.complex64)), "train"),
        "protocol.malformed",
    ),
    "a lock of a megabyte": Case(
        lambda it: measure(it, "prospective", lock_sha256="a" * 2**20), "plan.no-lock"
    ),
    "a release of a megabyte": Case(
        lambda it: measure(it, release_sha256="e" * 2**20), "protocol.no-such-release"
    ),
    "a stage of a megabyte": Case(lambda it: train(it, stage="s" * 2**20), "plan.no-such-stage"),
    # pieces of an encoder
    "an encoder where the plan has none": Case(
        lambda it: chunk(it, encoder=False), "protocol.unwanted-weights"
    ),
    "another encoder than the plan's": Case(
        lambda it: chunk(it, file_sha256="1" * 64), "protocol.unwanted-weights"
    ),
    "an encoder named by a path": Case(
        lambda it: chunk(it, file_sha256="../../policy"), "protocol.unwanted-weights"
    ),
    "a piece beyond the last": Case(lambda it: chunk(it, index=2), "protocol.unwanted-weights"),
    "a piece before the first": Case(lambda it: chunk(it, index=-1), "protocol.unwanted-weights"),
    "pieces without end": Case(lambda it: chunk(it, n_chunks=1 << 30), "protocol.unwanted-weights"),
    "a piece too large": Case(
        lambda it: chunk(it, data=bytes((16 << 20) + 1)), "protocol.unwanted-weights"
    ),
    "a piece of nothing": Case(lambda it: chunk(it, data=b""), "protocol.unwanted-weights"),
    # messages
    "nothing": Case(lambda _: (RecordDict(), "train"), "protocol.malformed"),
    "something else": Case(
        lambda _: (RecordDict({"message": ConfigRecord({"round": 1})}), "train"), "protocol.malformed"
    ),
    "a field too few": Case(
        lambda it: (scalars(it.train_request(), round=None), "train"), "protocol.malformed"
    ),
    "a field too many": Case(
        lambda it: (scalars(it.train_request(), debug=True), "train"), "protocol.malformed"
    ),
    "a field of another type": Case(
        lambda it: (scalars(it.train_request(), round="1"), "train"), "protocol.malformed"
    ),
    "another protocol version": Case(
        lambda it: (scalars(it.train_request(), version=PROTOCOL_VERSION - 1), "train"),
        "protocol.unknown-version",
    ),
    "a version of a megabyte": Case(
        lambda it: (scalars(it.train_request(), version="2" * (1 << 20)), "train"),
        "protocol.unknown-version",
    ),
    "a sum asked where a greeting is due": Case(
        lambda it: (to_record(it.measure_request()), "query.hello"), "protocol.wrong-message"
    ),
    "a sum asked where pieces of an encoder are due": Case(
        lambda it: (to_record(it.train_request()), "query.weights"), "protocol.wrong-message"
    ),
    "a greeting where a sum is due": Case(
        lambda it: (to_record(Hello(plan_sha256=it.plan_sha256, nonce="n")), "train"),
        "protocol.wrong-message",
    ),
    "a reply for a request": Case(
        lambda it: (to_record(Refusal(plan_sha256="", site="", code="", correlation_id="")), "train"),
        "protocol.wrong-message",
    ),
    "a greeting under another plan": Case(
        lambda _: (to_record(Hello(plan_sha256="b" * 64, nonce="n")), "query.hello"),
        "plan.not-approved",
    ),
}


def files_of(folder: Path) -> dict[str, str]:
    """Hash of every file of a site but its logs, which grow by what was refused.

    Nor is looked at what the site has found out of approved plans, one file each at most.
    """
    found = {
        str(path.relative_to(folder)): hash_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in ("log", "outbox")
    }
    settled = {path for path in found if path.startswith("approvals/settled/")}
    assert {Path(path).name for path in settled} <= {
        Path(path).name for path in found if path.startswith("plans/")
    }
    return {path: digest for path, digest in found.items() if path not in settled}


def size_of_logs(folder: Path) -> int:
    return sum(path.stat().st_size for name in ("log", "outbox") for path in (folder / name).glob("*"))


def require_only_a_code(reply: Message, *, site: str) -> Refusal:
    """The refusal in a reply that says nothing else."""
    assert not reply.has_error()
    assert list(reply.content) == ["message"]
    refusal = from_record(reply.content, Refusal)
    assert re.fullmatch(r"[a-z]+\.[a-z-]+", refusal.code)
    assert re.fullmatch("[0-9a-f]{16}", refusal.correlation_id)
    assert re.fullmatch("([0-9a-f]{64})?", refusal.plan_sha256)
    assert refusal.site in ("", site)
    return refusal


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_request_gets_a_code_and_changes_nothing(sites: TableSites, name: str) -> None:
    case = HOSTILE[name]
    folder = sites.folder / "sites" / case.site
    record, message_type = case.ask(sites)
    if case.opens:
        sites.gate(case.site)  # the ledger of a site that has answered before
    before, charged, logged = files_of(folder), charges_in(folder), size_of_logs(folder)
    refusal = require_only_a_code(send(folder, record, message_type), site=case.site)
    assert refusal.code == case.code
    assert charges_in(folder) - charged == case.n_charges
    after = files_of(folder)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert {Path(path).parts[0] for path in changed} <= (
        {"ledger", "ledger-witness.json"} if case.n_charges else set()
    )
    assert size_of_logs(folder) - logged < 32_000
    line = json.loads((folder / "log" / "refusals.jsonl").read_bytes().splitlines()[-1])
    assert (line["code"], line["correlation_id"]) == (refusal.code, refusal.correlation_id)
    assert case.because in line["text"]


def charges_in(folder: Path) -> int:
    path = folder / "ledger" / "ledger.jsonl"
    return path.read_bytes().count(b'"kind":"charge"') if path.exists() else 0


def test_there_are_at_least_130_such_requests() -> None:
    assert len(HOSTILE) >= 130


def test_a_round_out_of_turn_costs_that_round_and_no_more(sites: TableSites) -> None:
    # A late site may be asked for round 3 first; whatever the order, each round is paid for once.
    folder, event = sites.site().folder, sites.training.noise_multiplier
    for number in (3, 1, 3, 2, 1):
        reply = send(folder, *train(sites, round=number))
        assert isinstance(from_record(reply.content, SumReply), SumReply)
    rows = [row for row in sites.gate().ledger.show() if row.kind == "charge"]
    assert [(row.round, row.noise_multiplier, row.steps) for row in rows] == [
        (3, event, 1), (1, event, 1), (2, event, 1),
    ]  # fmt: skip


def test_a_round_that_fails_after_its_charge_gets_one_refusal_however_often_it_is_asked(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("shared.stages.gradient.GradientSum.answer", fail)
    sites.change_policy(epsilon_per_run=sites.plan.predicted.training_epsilon)
    request = sites.train_request()
    refusals = {
        require_only_a_code(send(sites.site().folder, to_record(request), "train"), site="elm")
        for _ in range(6)
    }
    assert {each.code for each in refusals} == {"osteofed.internal"}
    assert (len(refusals), sites.charges()) == (1, 1)


def pieces_kept(sites: TableSites) -> int:
    """Bytes of encoders and their pieces on the site's disk."""
    cache = sites.site().folder / "cache"
    return sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())


def push(sites: TableSites, plan_sha256: str, **values: object) -> Message:
    piece = {"file_sha256": "0" * 64, "n_chunks": 1000, "data": bytes(1000)} | values
    record = to_record(WeightsChunk(plan_sha256=plan_sha256, **piece))  # type: ignore[arg-type]
    return send(sites.site().folder, record, "query.weights")


def test_pieces_of_an_encoder_never_fill_the_disk(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.answers.hello._MAX_ENCODER_BYTES <= 1 << 30
    monkeypatch.setattr(client.answers.hello, "_MAX_ENCODER_BYTES", 5_000)
    plan_sha256 = approved(sites, name_encoder, encoder_sha256="0" * 64)
    kept, codes = [], []
    for index in range(14):
        reply = push(sites, plan_sha256, index=index)
        if "code" in dict(reply.content["message"]):  # type: ignore[call-overload]
            codes.append(require_only_a_code(reply, site="elm").code)
        kept.append(pieces_kept(sites))
    assert codes == ["weights.too-large"] * 2
    assert kept == [1000, 2000, 3000, 4000, 5000, 0] * 2 + [1000, 2000]
    for _ in range(5):  # one piece over and over takes the space of one
        push(sites, plan_sha256, index=0)
    assert pieces_kept(sites) == 3000
    for n_chunks in range(500, 540):  # and so do sendings that are begun anew with another number
        push(sites, plan_sha256, index=n_chunks - 1, n_chunks=n_chunks)
        assert pieces_kept(sites) == 1000
    reply = push(sites, plan_sha256, index=1, data=bytes(5_001))
    assert require_only_a_code(reply, site="elm").code == "weights.too-large"
    assert pieces_kept(sites) == 0


def test_a_message_of_no_known_kind_finds_no_handler(sites: TableSites) -> None:
    folder = sites.site().folder
    before = files_of(folder)
    for message_type in ("evaluate.internal", "evaluate", "query.everything"):
        reply = send(folder, to_record(sites.measure_request()), message_type)
        assert reply.has_error()
    assert files_of(folder) == before


N_REQUESTS = 10_000


def asked_again(sites: TableSites, number: int) -> SumRequest:
    return sites.measure_request(release_sha256=hash_of(number))


def test_ten_thousand_requests_for_metrics_get_one_table(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sites.site().folder
    answers = [send(folder, to_record(asked_again(sites, number)), "train") for number in range(20)]
    first = from_record(answers[0].content, SumReply)
    assert first.status == "measured"
    codes = {require_only_a_code(answer, site="elm").code for answer in answers[1:]}
    assert codes == {"privacy.round-repeated"}
    before, logged = files_of(folder), size_of_logs(folder)

    # the same below Flower's layer, without waiting for a disk
    monkeypatch.setattr("os.fsync", lambda _: None)
    gate, members = sites.gate(), sites.split("internal").arrays.patients
    approved = approved_plan(sites.site(), sites.plan_sha256)
    request = asked_again(sites, 0)
    for number in range(20, N_REQUESTS):
        again = replace(request, release_sha256=f"{number:064x}")
        refused = refusal_by(gate, approved, again, members=members)
        assert refused.code == "privacy.round-repeated"
    assert files_of(folder) == before
    assert sites.charges() == 1
    assert len((folder / "ledger" / "ledger.jsonl").read_bytes().splitlines()) == 3
    assert (size_of_logs(folder) - logged) / (N_REQUESTS - 20) < 4_000
    # and the one table can be fetched again as it was, for nothing
    same = from_record(send(folder, to_record(request), "train").content, SumReply)
    assert (same.total == first.total).all()
    assert sites.charges() == 1


def never() -> SumReply:
    raise AssertionError("noise was drawn")


def refusal_by(
    gate: Gate, approved: Approved, request: SumRequest, *, members: Collection[str]
) -> Refusal:
    """What the gate lets out when it refuses to charge."""
    plan = approved.plan
    charge = charge_for(approved, plan.stage(request.stage), request, canaries_sha256="")
    prepared = Prepared(charge=charge, members=members, bound=Bound(length=1, kind="<f8"), reply=never)
    with pytest.raises(OsteoFedError) as caught:
        gate.answer(
            request,
            lambda: prepared,
            purpose=charge.purpose,
            coordinator_key=plan.coordinator_key,
        )
    message = gate.refuse(caught.value, plan_sha256=plan.sha256).message
    assert isinstance(message, Refusal)
    return message


def test_a_site_says_that_it_holds_the_encoders_only_when_it_holds_every_one(tmp_path: Path) -> None:
    site = SimpleNamespace(encoder_file=lambda sha256: tmp_path / sha256)
    plan = SimpleNamespace(encoder_places={"one": "encoder.safetensors", "two": "encoders/two"})
    said = []
    for name in ("one", "two"):
        said.append(client.answers.hello._holds_encoders(site, plan))
        (tmp_path / name).touch()
    said.append(client.answers.hello._holds_encoders(site, plan))
    assert said == [False, False, True]
    assert client.answers.hello._holds_encoders(site, SimpleNamespace(encoder_places={}))
