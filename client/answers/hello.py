"""First contact: who this site is, whether it approved the plan, and the encoders it is sent.

Answers name the site, its code and nothing about its cohort. Encoder weights arrive in pieces, are
kept up to a bound whatever the coordinator sends, and count only once the whole file has the hash
that the approved plan names. Imports gate and site.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from client.gate.gate import Gate, Released
from client.site.approved import approved_plan
from client.site.folder import Site
from shared.contract.plan import Plan
from shared.contract.protocol import Hello, HelloReply, WeightsChunk, WeightsReply
from shared.errors import ProtocolError, WeightsError
from shared.machine.files import write_atomic
from shared.signing.canonical import sha256_hex
from shared.signing.code_hash import installed_code_hash

# Bounds on what a coordinator can make a site keep. The largest encoder foreseen, DINOv2-B in
# float32, has 350 MB (86 million weights, Oquab et al. 2023, arXiv 2304.07193) in pieces of 4 MiB.
_MAX_CHUNKS, _MAX_CHUNK_BYTES, _MAX_ENCODER_BYTES = 1024, 16 << 20, 512 << 20


def answer_hello(site: Site, gate: Gate, request: Hello) -> Released:
    """Name this site under the coordinator's fresh nonce."""
    plan = approved_plan(site, request.plan_sha256).plan
    return gate.release_public(
        HelloReply(
            plan_sha256=plan.sha256,
            nonce=request.nonce,
            site=site.name,
            code_sha256=installed_code_hash(),
            has_encoder=_holds_encoders(site, plan),
            countersigned=_newest_countersigned(gate, plan),
        )
    )


def store_chunk(site: Site, gate: Gate, request: WeightsChunk) -> Released:
    """Keep one piece of an encoder; after the last, check the hash of the whole.

    A site that holds the whole file keeps no further piece of it.

    Raises:
        ProtocolError: the piece is not of an encoder of the plan, or out of bounds.
        WeightsError: all pieces together are too large, or the whole has another hash; they are
            thrown away.
    """
    plan = approved_plan(site, request.plan_sha256).plan
    is_wanted = request.file_sha256 in plan.encoder_places
    is_bounded = (
        0 <= request.index < request.n_chunks <= _MAX_CHUNKS
        and 0 < len(request.data) <= _MAX_CHUNK_BYTES
    )
    if not (is_wanted and is_bounded):
        raise ProtocolError("unwanted-weights", "a piece of weights is not one that the plan names")
    kept = site.encoder_file(request.file_sha256)
    if not kept.exists():
        _keep_piece(kept, request)
    return gate.release_public(
        WeightsReply(
            plan_sha256=plan.sha256,
            site=site.name,
            index=request.index,
            is_complete=kept.exists(),
        )
    )


def _newest_countersigned(gate: Gate, plan: Plan) -> str:
    """By which a coordinator sees that its folder is older than what it has signed."""
    signed = gate.ledger.countersignatures()
    return next((each.head_sha256 for each in reversed(signed) if each.plan_sha256 == plan.sha256), "")


def _holds_encoders(site: Site, plan: Plan) -> bool:
    return all(site.encoder_file(sha256).exists() for sha256 in plan.encoder_places)


def _keep_piece(target: Path, request: WeightsChunk) -> None:
    pieces = target.with_suffix(".pieces")
    piece = pieces / f"{request.index:04d}-of-{request.n_chunks:04d}"
    kept = set(pieces.iterdir() if pieces.exists() else ()) - {piece}
    foreign = {path for path in kept if not path.name.endswith(piece.name[4:])}
    for path in foreign:  # of a sending that was cut in another number of pieces, or torn by a crash
        path.unlink()
    n_bytes = len(request.data) + sum(path.stat().st_size for path in kept - foreign)
    if n_bytes > _MAX_ENCODER_BYTES:
        shutil.rmtree(pieces)
        raise WeightsError(
            "too-large",
            f"an encoder may have {_MAX_ENCODER_BYTES} bytes, its pieces have more",
            hint="ask the coordinator for a plan with a smaller encoder",
        )
    write_atomic(piece, request.data)
    names = sorted(pieces.iterdir())
    if len(names) == request.n_chunks:
        _assemble(names, target, sha256=request.file_sha256)


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
