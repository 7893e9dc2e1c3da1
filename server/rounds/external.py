"""Takes in what a hospital measured offline: nothing of the file is believed that was not checked.

It is held to what a reply by message is held to; besides, a person at the coordinator has to name the
key that must have signed it. Imports the checks of replies and the run store.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from server.rounds.replies import MEASURED, ReplyCheck
from server.run.external import keep_external
from server.run.folder import Event, RunStore
from server.run.release import held_release
from shared.contract.protocol import vector_sha256
from shared.errors import ProtocolError
from shared.stages.external_file import ExternalFile, decode_external, require_plan_of
from shared.stages.kinds import sum_of


def take_in(store: RunStore, path: Path, *, fingerprints: Collection[str]) -> ExternalFile:
    """Check a hospital's file and keep it in the run whose release it measured.

    Args:
        store: a run with a release.
        path: the file that `osteofed-site validate` or `personalise` wrote.
        fingerprints: public keys that a person here has confirmed over another channel.

    Raises:
        ProtocolError: no such file, a key that nobody confirmed, or a table that is not what the file's
            plan asks for and the key signed.
        WeightsError: it measured another release.
        PlanError: it was made by other code, or by a hospital that trained the release.
        RunError: another file of this hospital was taken in before.
    """
    data = _read(path)
    file, release = decode_external(data), held_release(store)
    _require_confirmed(store, file, fingerprints)
    require_plan_of(file, release)
    encoder = store.encoder_file if file.plan.encoder_sha256 else None
    check = ReplyCheck(
        plan=file.plan,
        stage=file.stage,
        asked=sum_of(file.plan, file.stage, encoder_file=encoder),
        round=1,
        # of local training only the hospital knows the weights
        vector_sha256=file.reply.vector_sha256
        if file.plan.is_local
        else vector_sha256(release.weights),
        release_sha256=release.sha256,
    )
    check.require(file.reply, site=file.entry.site)
    if file.reply.status != MEASURED:
        raise ProtocolError("malformed", "a file holds a table, not that there is none")
    if keep_external(store, file, data):
        store.log(Event(round=0, site=file.entry.site, code="external-taken-in"))
    return file


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ProtocolError(
            "unreadable-external", f"{path.name} cannot be read: {type(error).__name__}"
        ) from None


def _require_confirmed(store: RunStore, file: ExternalFile, fingerprints: Collection[str]) -> None:
    """Refuse a key that nobody named, or that is not the enrolled one of a site of that name."""
    key, site = file.entry.public_key, file.entry.site
    if key not in {each.strip().lower() for each in fingerprints}:
        raise ProtocolError(
            "unconfirmed-key",
            f"the file of {site} is signed by a key that nobody here has confirmed",
            hint="ask the hospital for its key over another channel (its command shows "
            "it), then add --fingerprint KEY",
        )
    enrolled = {entry.site: entry.public_key for entry in store.plan.roster}
    if enrolled.get(site, key) != key:
        raise ProtocolError(
            "wrong-site", f"{site} is the name of another hospital, which is enrolled with its own key"
        )
