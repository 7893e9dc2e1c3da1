"""Tables that hospitals measured offline, as they were taken into a run: ``external/SITE.json``.

What lies here was checked when it was taken in. Imports the run store and the file's format.
"""

from __future__ import annotations

from pathlib import Path

from server.run.folder import RunStore
from shared.errors import RunError
from shared.machine.files import write_atomic
from shared.stages.external_file import ExternalFile, decode_external


def keep_external(store: RunStore, site: str, data: bytes) -> bool:
    """Keep a checked file; whether it is new.

    Raises:
        RunError: another file of this hospital was taken in before.
    """
    path = _folder(store) / f"{site}.json"
    if path.exists() and path.read_bytes() != data:
        raise RunError(
            "external-exists",
            f"run {store.plan.run} holds another file of {site} already",
            hint="one table of a hospital counts; a later one belongs to a validation plan",
        )
    is_new = not path.exists()
    write_atomic(path, data)
    return is_new


def read_externals(store: RunStore) -> tuple[ExternalFile, ...]:
    """The files that were taken in, by name of the hospital."""
    return tuple(decode_external(path.read_bytes()) for path in sorted(_folder(store).glob("*.json")))


def _folder(store: RunStore) -> Path:
    return store.folder / "external"
