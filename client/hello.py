"""First contact: who this site is, whether it approved the plan, and the encoder it is sent.

Answers name the site, its code and nothing about its cohort. Encoder weights arrive in pieces and
count only once the whole file has the hash that the approved plan names. Imports gate and site.
"""

from __future__ import annotations

from pathlib import Path

from client.gate import Gate, Released
from client.policy import require_plan
from client.site import Site
from shared.canonical import hash_file, sha256_hex
from shared.code_hash import installed_code_hash
from shared.errors import PlanError, ProtocolError, WeightsError
from shared.files import write_atomic
from shared.plan import Plan
from shared.protocol import Hello, HelloReply, WeightsChunk, WeightsReply

# The largest encoder here, DINOv2-B in float32, is 350 MB in pieces of 4 MiB.
_MAX_CHUNKS, _MAX_CHUNK_BYTES = 1024, 16 << 20


def approved_plan(site: Site, plan_sha256: str) -> Plan:
    """The plan of a message, if this site approved it, its policy allows it and its code is ours.

    Raises:
        PlanError: not approved, its roster does not fit this site, or it was written for other code.
        PolicyError: the hospital's policy forbids it.
    """
    plan = site.approvals.approved(plan_sha256)
    if plan.code_sha256 != installed_code_hash():
        raise PlanError(
            "other-code",
            f"the plan was written for code {plan.code_sha256[:12]}, "
            f"this site runs {installed_code_hash()[:12]}",
            hint="install the same release at coordinator and sites, then write a new plan",
        )
    site.require_entry(plan)
    require_plan(site.policy, plan, site=site.name)
    return plan


def answer_hello(site: Site, gate: Gate, request: Hello) -> Released:
    """Name this site under the coordinator's fresh nonce."""
    plan = approved_plan(site, request.plan_sha256)
    return gate.release_public(
        HelloReply(
            plan_sha256=plan.sha256,
            nonce=request.nonce,
            site=site.name,
            code_sha256=installed_code_hash(),
            has_encoder=_holds_encoder(site, plan),
        )
    )


def store_chunk(site: Site, gate: Gate, request: WeightsChunk) -> Released:
    """Keep one piece of the encoder; after the last, check the hash of the whole.

    Raises:
        ProtocolError: the piece is not of the plan's encoder, or out of bounds.
        WeightsError: the whole has another hash; the pieces are thrown away.
    """
    plan = approved_plan(site, request.plan_sha256)
    is_wanted = request.file_sha256 == plan.encoder_sha256
    is_bounded = (
        0 <= request.index < request.n_chunks <= _MAX_CHUNKS and len(request.data) <= _MAX_CHUNK_BYTES
    )
    if not (is_wanted and is_bounded):
        raise ProtocolError("unwanted-weights", "a piece of weights is not one that the plan names")
    target = site.encoder_file(request.file_sha256)
    pieces = target.with_suffix(".pieces")
    write_atomic(pieces / f"{request.index:04d}", request.data)
    names = sorted(pieces.iterdir())
    if len(names) == request.n_chunks:
        _assemble(names, target, sha256=request.file_sha256)
    return gate.release_public(
        WeightsReply(
            plan_sha256=plan.sha256,
            site=site.name,
            index=request.index,
            is_complete=_holds_encoder(site, plan),
        )
    )


def install_encoder(site: Site, file: Path, plan: Plan) -> None:
    """Put an encoder file that came another way (disk, USB) into the cache, by the plan's hash.

    Raises:
        WeightsError: the file is not the plan's.
    """
    if hash_file(file) != plan.encoder_sha256:
        raise WeightsError("wrong-hash", f"{file.name} is not the encoder that the plan names")
    write_atomic(site.encoder_file(str(plan.encoder_sha256)), file.read_bytes())


def _holds_encoder(site: Site, plan: Plan) -> bool:
    return plan.encoder_sha256 is None or site.encoder_file(plan.encoder_sha256).exists()


def _assemble(names: list[Path], target: Path, *, sha256: str) -> None:
    whole = b"".join(name.read_bytes() for name in names)
    for name in names:
        name.unlink()
    names[0].parent.rmdir()
    if sha256_hex(whole) != sha256:
        raise WeightsError(
            "wrong-hash",
            "the encoder that was sent does not have the hash that the plan names",
            hint="the coordinator should send it again",
        )
    write_atomic(target, whole)
