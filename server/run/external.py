"""What hospitals measured by plans of their own, as it was taken into a run: in ``external/``.

``SITE.json`` is a hospital's table of the release, ``SITE.local.json`` its comparison with local
training. What lies here was checked when it was taken in. Imports the run store and the file's format.
"""

from __future__ import annotations

from pathlib import Path

from server.run.folder import RunStore
from shared.errors import RunError
from shared.machine.files import write_atomic
from shared.stages.external_file import ExternalFile, decode_external


def keep_external(store: RunStore, file: ExternalFile, data: bytes) -> bool:
    """Keep a checked file; whether it is new.

    Raises:
        RunError: another file of this hospital was taken in before.
    """
    site = file.entry.site
    path = _folder(store) / f"{site}{'.local' if file.plan.is_local else ''}.json"
    if path.exists() and path.read_bytes() != data:
        raise RunError(
            "external-exists",
            f"run {store.plan.run} holds another file of {site} already",
            hint="one table of a hospital counts, and one comparison; a later table belongs to a "
            "validation plan",
        )
    is_new = not path.exists()
    write_atomic(path, data)
    return is_new


def read_externals(store: RunStore) -> tuple[ExternalFile, ...]:
    """The tables that were taken in, by name of the hospital."""
    return tuple(file for file in _read_all(store) if not file.plan.is_local)


def read_comparisons(store: RunStore) -> tuple[ExternalFile, ...]:
    """The comparisons with local training that were taken in, by name of the hospital."""
    return tuple(file for file in _read_all(store) if file.plan.is_local)


def _read_all(store: RunStore) -> list[ExternalFile]:
    return [decode_external(path.read_bytes()) for path in sorted(_folder(store).glob("*.json"))]


def _folder(store: RunStore) -> Path:
    return store.folder / "external"
