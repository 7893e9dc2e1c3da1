"""A federation with nothing medical in it: real keys, plan, protocol and signatures, no patients.

Each practice site moves the weights towards its own target, so expected weights can be computed by
hand. ``python practice_federation.py local|ray RUN SITE_FOLDERS.json`` trains a run in its own
process, so that a test can kill it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from client.site.context import site_folder_from
from server.federation.plan import resolve_stages, shared_settings
from server.federation.tables import Declared
from server.run.folder import RunStore, prepare_run
from server.run.release import make_release
from shared.contract.plan import Plan, RosterEntry, write_plan
from shared.contract.protocol import (
    Hello,
    HelloReply,
    Refusal,
    SumReply,
    SumRequest,
    WeightsChunk,
    WeightsReply,
    from_record,
    signed_bytes,
    to_record,
    vector_sha256,
)
from shared.contract.release import Release
from shared.contract.settings import Settings, read_settings
from shared.privacy.cost import predict_cost
from shared.signing.canonical import hash_file, sha256_hex
from shared.signing.keys import create_key, load_key

STEP = np.float32(0.1)
N_CELLS = 24  # of a practice table: 12 bins for each class
P = 6  # weights of the practice model: value and missing flag of one field, two classes, two biases
CODE = "c" * 64


def practice_settings(
    *,
    rounds: int = 3,
    strategy: Mapping[str, object] | None = None,
    federation: Mapping[str, object] | None = None,
    privacy: Mapping[str, object] | None = None,
) -> Settings:
    """Settings of a tiny classification run without films; without noise unless ``privacy`` says so."""
    return read_settings(
        {
            "experiment": "practice",
            "task": {
                "kind": "classification",
                "endpoint": "yes",
                "positive_class": "yes",
            },
            "cohort": {
                "name": "practice",
                "version": 1,
                "fields": [{"name": "age", "kind": "number", "low": 0, "high": 120}],
                "label": {"kind": "class", "column": "y", "classes": ["no", "yes"]},
            },
            "encoder": {"name": "none"},
            "fusion": {
                "name": "clinical_only",
                "schedules": {"standard": [{"learning_rate": 0.1, "rounds": rounds, "local_steps": 1}]},
            },
            "privacy": privacy or {"mode": "off", "update_norm_max": 1e5},
            "strategy": strategy or {"name": "fedavg"},
            "federation": {
                "rounds": rounds,
                "local_steps": 1,
                "learning_rate": 0.1,
                "round_deadline_s": 5.0,
                "liveness_s": 2.0,
                "poll_s": 0.01,
                **(federation or {}),
            },
            "validation": {"release_class": "dp", "epsilon": 3.0, "bins": 12, "blocks": {"error": 0}},
            "engine": {"name": "local"},
        }
    )


def found_federation(
    home: Path,
    *,
    settings: Settings | None = None,
    n_sites: int = 4,
    n_external: int = 0,
    is_required: bool = False,
    encoder: bytes | None = None,
    run: str = "practice",
    weights_of_sites: tuple[float, ...] | None = None,
    declared: tuple[int, ...] | None = None,
) -> tuple[RunStore, dict[str, Path]]:
    """Coordinator, sites with keys, a signed plan and a prepared run; returns it and site folders.

    ``declared``: patients that each training site declares; 100 unless said.
    """
    settings = settings or practice_settings()
    key_file = home / "keys" / "coordinator.pem"
    key = load_key(key_file) if key_file.exists() else create_key(key_file)
    names = [f"site-{number}" for number in range(n_sites + n_external)]
    folders = {name: home / "sites" / name for name in names}
    sizes = declared or (100,) * n_sites
    shares = weights_of_sites or tuple(size / sum(sizes) for size in sizes)
    initial = np.zeros(P, dtype="<f4")
    encoder_file = None
    if encoder is not None:
        encoder_file = home / "encoder.bin"
        encoder_file.write_bytes(encoder)
    roster = []
    for number, name in enumerate(names):
        site_key = folders[name] / "keys" / "site.pem"
        public = (load_key(site_key) if site_key.exists() else create_key(site_key)).public_hex
        roster.append(
            RosterEntry(
                site=name,
                role="training" if number < n_sites else "external",
                is_required=is_required,
                public_key=public,
                declared_patients=sizes[number] if number < n_sites else 100,
                weight=shares[number] if number < n_sites else 0.0,
            )
        )
    if encoder_file is not None:
        named = settings.encoder.model_copy(update={"sha256": hash_file(encoder_file)})
        settings = settings.model_copy(update={"encoder": named})
    sizes_of: Declared = {"training": sizes, "external": (100,) * n_external}
    stages = resolve_stages(settings, n_parameters=P, declared=sizes_of)
    plan = Plan(
        run=run,
        written_utc="2026-01-01T00:00:00+00:00",
        settings=shared_settings(settings),
        stages=stages,
        roster=tuple(roster),
        coordinator_key=key.public_hex,
        code_sha256=CODE,
        encoder_sha256=settings.encoder.sha256,
        initial_weights_sha256=vector_sha256(initial),
        layout_sha256="1" * 64,
        predicted=predict_cost(stages, delta=settings.privacy.delta),
    )
    folder = home / "runs" / run
    write_plan(folder / "plan.json", plan, key)
    for entry in plan.roster:
        site = {
            "site": entry.site,
            "plan_sha256": plan.sha256,
            "encoder_sha256": plan.encoder_sha256,
            "declared_patients": entry.declared_patients,
            "fold": stages[0].fold,
            "release_class": stages[0].release_class,
        }
        (folders[entry.site] / "site.json").write_text(json.dumps(site))
    files = [] if encoder_file is None else [encoder_file]
    return prepare_run(folder, initial_state=initial, encoders=files), folders


def release_of(store: RunStore) -> Release:
    """The release of a finished run, signed with the coordinator's key that lies in its home."""
    return make_release(store, load_key(store.home / "keys" / "coordinator.pem"))


def target_of(site: str, size: int) -> np.ndarray:
    """Where a practice site pulls the weights: its number, plus a ramp."""
    number = int(site.rpartition("-")[2])
    return (number + np.linspace(0, 1, size)).astype("<f4")


def update_of(site: str, weights: np.ndarray) -> np.ndarray:
    """What a practice site sends for some weights [p]."""
    return (STEP * (target_of(site, weights.size) - weights)).astype("<f4")


def gradient_of(site: str, weights: np.ndarray, *, declared: int) -> np.ndarray:
    """The sum of as many gradients w − target as a site declares [p], for ``fold`` coordinator."""
    return declared * (weights.astype("<f8") - target_of(site, weights.size))


app = ClientApp()


def _site(context: Context) -> tuple[Path, dict[str, Any]]:
    folder = site_folder_from(context)
    return folder, json.loads((folder / "site.json").read_text())


def _reply(message: Message, folder: Path, reply: object) -> Message:
    key = load_key(folder / "keys" / "site.pem")
    signed = replace(reply, signature=key.sign(signed_bytes(reply)))
    return Message(to_record(signed), reply_to=message)


@app.query("hello")
def hello(message: Message, context: Context) -> Message:
    """Name the site; ``claims.json`` makes it lie about its name."""
    folder, site = _site(context)
    order = from_record(message.content, Hello)
    lie = folder / "claims.json"
    stored = folder / "cache" / str(site["encoder_sha256"])
    asked = folder / "trained.log"
    rounds = [line.split(" ") for line in asked.read_text().splitlines()] if asked.exists() else []
    return _reply(
        message,
        folder,
        HelloReply(
            plan_sha256=order.plan_sha256,
            nonce=order.nonce,
            site=json.loads(lie.read_text()) if lie.exists() else site["site"],
            code_sha256=CODE,
            has_encoder=stored.exists(),
            countersigned=rounds[-1][1] if rounds else "",
        ),
    )


@app.query("weights")
def weights(message: Message, context: Context) -> Message:
    """Store a piece of the encoder."""
    folder, site = _site(context)
    chunk = from_record(message.content, WeightsChunk)
    part = folder / "cache" / "part"
    part.parent.mkdir(exist_ok=True)
    with part.open("ab" if chunk.index else "wb") as stream:
        stream.write(chunk.data)
    is_complete = sha256_hex(part.read_bytes()) == chunk.file_sha256
    if is_complete:
        part.rename(folder / "cache" / chunk.file_sha256)
    with (folder / "chunks.log").open("a") as log:
        log.write(f"{chunk.index}/{chunk.n_chunks}\n")
    return _reply(
        message,
        folder,
        WeightsReply(
            plan_sha256=chunk.plan_sha256,
            site=site["site"],
            index=chunk.index,
            is_complete=is_complete,
        ),
    )


@app.train()
def train(message: Message, context: Context) -> Message:
    """Move the weights towards the site's target, or send ``table.json``.

    ``refuse.json`` holds a code to refuse with; ``status.json`` why there is no table;
    ``charges.json`` how often a round is charged.
    """
    folder, site = _site(context)
    order = from_record(message.content, SumRequest)
    refuses = folder / "refuse.json"
    if refuses.exists():
        refusal = Refusal(
            plan_sha256=order.plan_sha256,
            site=site["site"],
            code=json.loads(refuses.read_text()),
            correlation_id="0",
        )
        return Message(to_record(refusal), reply_to=message)
    if order.stage != "train":
        return _measure(message, folder, site, order)
    with (folder / "trained.log").open("a") as log:
        log.write(f"{order.round} {order.ledger_head} {order.countersignature}\n")
    pause = folder / "pause_s.json"
    if pause.exists():
        time.sleep(json.loads(pause.read_text()))
    return _reply(
        message,
        folder,
        SumReply(
            plan_sha256=site["plan_sha256"],
            stage=order.stage,
            round=order.round,
            site=site["site"],
            status="measured",
            release_class=site["release_class"],
            vector_sha256=vector_sha256(order.vector),
            release_sha256="",
            total=(
                update_of(site["site"], order.vector)
                if site["fold"] == "site"
                else gradient_of(site["site"], order.vector, declared=site["declared_patients"])
            ),
            ledger_head=f"{order.round:064x}",
            ledger_index=order.round,
            charges=_number_in(folder / "charges.json", 1),
        ),
    )


def _number_in(path: Path, usual: int) -> int:
    return int(json.loads(path.read_text())) if path.exists() else usual


def _status_of(folder: Path) -> str:
    path = folder / "status.json"
    return str(json.loads(path.read_text())) if path.exists() else "not-applicable"


def _measure(message: Message, folder: Path, site: dict[str, Any], order: SumRequest) -> Message:
    path = folder / "table.json"
    table = json.loads(path.read_text()) if path.exists() else []
    with (folder / "measured.log").open("a") as log:
        log.write(f"{order.stage} {order.ledger_head} {order.countersignature}\n")
    return _reply(
        message,
        folder,
        SumReply(
            plan_sha256=order.plan_sha256,
            stage=order.stage,
            round=order.round,
            site=site["site"],
            status="measured" if table else _status_of(folder),
            release_class="dp",
            vector_sha256=vector_sha256(order.vector),
            release_sha256=order.release_sha256,
            total=np.array(table, dtype="<f8"),
            ledger_head=sha256_hex(order.stage.encode()),
            ledger_index=int(sha256_hex(order.stage.encode())[:8], 16),
        ),
    )


if __name__ == "__main__":
    import practice_federation  # under its own name, as Ray's workers import it

    from server.engines.local import run_local
    from server.engines.ray import run_ray

    engine, run_folder, listed = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    site_folders = {name: Path(path) for name, path in json.loads(listed.read_text()).items()}
    run_stage = {"local": run_local, "ray": run_ray}[engine]
    run_stage(run_folder, site_folders, client_app=practice_federation.app)
