"""How a hostile coordinator asks: plans and messages that no coordinator of this project sends.

Each maker gives the record that is sent and its kind of message, out of sites whose people approved
whatever they were shown.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import yaml
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from practice_lock import accrue_later, lock_for
from practice_site import CONFIGS, clock
from table_site import TableSites
from test_app import send

from server.federation.plan import resolve_stages, shared_settings
from shared.contract.plan import Plan, write_plan
from shared.contract.protocol import (
    SumReply,
    WeightsChunk,
    Wire,
    from_record,
    to_record,
)
from shared.contract.settings import read_settings
from shared.errors import OsteoFedError
from shared.privacy.cost import predict_cost
from shared.signing.canonical import canonical_json, sha256_hex
from shared.signing.countersign import countersign
from shared.signing.keys import SigningKey, create_key, load_key

FORBIDDEN = "policy.plan-forbidden"
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
    """Round 2 of an approved plan with stages that no coordinator of this project can write."""

    def prepare(sites: TableSites) -> Asked:
        content = drafted(sites, lambda _: None, stages=stages, lie=None, own=None, name="elm")
        return approved_as_it_is(sites, content)

    return prepare


def approved_as_it_is(sites: TableSites, content: Mapping[str, object]) -> Asked:
    """Round 2 of a plan whose content is no valid plan's, signed and approved all the same."""
    request, written = sites.train_request(), canonical_json(content)
    sha256 = sha256_hex(written)
    envelope = {"sha256": sha256, "signature": coordinator(sites).sign(written), "plan": content}
    site = sites.site()
    (site.folder / "plans" / f"{sha256}.json").write_text(json.dumps(envelope))
    named = sites.plan.model_copy()
    named.__dict__["sha256"] = sha256
    site.approvals.decide(named, "approved", by="Care Less", now=clock())
    return to_record(replace(request, plan_sha256=sha256)), "train"


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


def by_hand(**changes: object) -> Prepare:
    """Round 2 of an approved plan with other content, where a change may be a function of it."""

    def prepare(sites: TableSites) -> Asked:
        content = sites.plan.model_dump(mode="json")
        for name, change in changes.items():
            content[name] = change(content[name]) if callable(change) else change
        return approved_as_it_is(sites, content)

    return prepare


def refused_later(sites: TableSites) -> Asked:
    record = sites.train_request()
    sites.site().approvals.decide(sites.plan, "refused", by="Ada Byron", now=clock())
    return to_record(record), "train"


def approval_at(sites: TableSites, name: str) -> Any:
    path = sites.folder / "sites" / name / "approvals" / f"{sites.plan_sha256}.json"
    return json.loads(path.read_bytes())


def with_approval(change: Callable[[TableSites, Any], object]) -> Prepare:
    """Somebody has changed the file of the approval."""

    def prepare(sites: TableSites) -> Asked:
        record = sites.train_request()
        path = sites.site().folder / "approvals" / f"{sites.plan_sha256}.json"
        path.write_text(json.dumps(change(sites, json.loads(path.read_bytes()))))
        return to_record(record), "train"

    return prepare


def with_plan_file(change: Callable[[TableSites, Any], object]) -> Prepare:
    """Somebody has changed the file of the plan."""

    def prepare(sites: TableSites) -> Asked:
        record = sites.train_request()
        path = sites.site().folder / "plans" / f"{sites.plan_sha256}.json"
        path.write_text(json.dumps(change(sites, json.loads(path.read_bytes()))))
        return to_record(record), "train"

    return prepare


def signed_by_hop(sites: TableSites, envelope: Any) -> object:
    return envelope | {"signature": sites.site("hop").key.sign(canonical_json(envelope["plan"]))}


def head_signed_by(sign: Callable[[TableSites, str], str]) -> Prepare:
    """Round 2 with the site's true head and another signature of it."""

    def prepare(sites: TableSites) -> Asked:
        sites.answer(sites.train_request(round=1))
        head = sites.gate().ledger.head().sha256
        return train(sites, round=2, ledger_head=head, countersignature=sign(sites, head))

    return prepare


def seen_by(key: SigningKey, sites: TableSites, head: str, *, site: str = "elm") -> str:
    return countersign(key, site=site, plan_sha256=sites.plan_sha256, ledger_head=head)


def head_of_hop(sites: TableSites) -> Asked:
    sites.answer(sites.measure_request("external"), "hop")
    return train(sites, **countersigned(sites, sites.gate("hop").ledger.head().sha256))


def piece_in_words(sites: TableSites) -> Asked:
    record, message_type = chunk(sites)
    values = dict(record["message"]) | {"data": "x"}  # type: ignore[call-overload]
    record["message"] = ConfigRecord(values)
    return record, message_type


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
