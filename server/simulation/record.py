"""What a simulation's folder was made from, so that the same command goes on and another is refused.

::

    <folder>/simulation.json        version and inputs: hospitals by hash, settings by value, seed
    <folder>/coordinator/ sites/    as of a real federation
    <folder>/divisions/0001.json    what every arm reached on one division of the patients
    <folder>/report.html            the federation's report
    <folder>/comparison.html        the arms beside each other

Imports files only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

from server.simulation.sources import Hospital
from shared.contract.settings import Settings
from shared.errors import RunError
from shared.machine.files import write_atomic
from shared.signing.code_hash import installed_code_hash

RECORD_VERSION = 1
RECORD_FILE = "simulation.json"
_SHOWN = 12


def inputs_of(
    hospitals: Sequence[Hospital], settings: Settings, *, seed: int, lock_date: date | None = None
) -> dict[str, object]:
    """Everything that a simulation's results follow from, but its noise."""
    return {
        "hospital": {hospital.name: hospital.content() for hospital in hospitals},
        "settings": settings.model_dump(mode="json"),
        "seed": seed,
        "lock date": str(lock_date) if lock_date else "none",
        "OsteoFed": installed_code_hash(),
    }


def require_same(folder: Path, inputs: Mapping[str, object]) -> None:
    """Refuse a folder that holds anything else than this simulation, done or half done.

    Raises:
        RunError: it was made from other inputs, with all that differs; or holds something else.
    """
    if not folder.exists() or not any(folder.iterdir()):
        return
    try:
        record = json.loads((folder / RECORD_FILE).read_bytes())
        before, version = dict(record["inputs"]), record["version"]
    except (OSError, ValueError, KeyError, TypeError):
        raise RunError(
            "folder-in-use",
            f"{folder} is not empty and was not written by a simulation",
            hint="name another with --folder",
        ) from None
    if version != RECORD_VERSION:
        raise RunError(
            "unknown-version",
            f"simulation format version must be {RECORD_VERSION}, not {version!r}",
            hint="name another --folder",
        )
    differences = differing(before, json.loads(json.dumps(inputs)))
    if differences:
        raise RunError(
            "other-simulation",
            f"{folder} holds a simulation of other inputs:\n" + "\n".join(differences[:_SHOWN]),
            hint="name another --folder, or ask for what this one was made from",
        )


def write_record(folder: Path, inputs: Mapping[str, object]) -> None:
    """Keep the inputs of a simulation that begins."""
    content = {"version": RECORD_VERSION, "inputs": inputs}
    write_atomic(folder / RECORD_FILE, json.dumps(content, indent=1).encode())


def differing(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """What differs between two inputs, a line each; hashes are not repeated."""
    lines = _hospital_lines(_part(before, "hospital"), _part(now, "hospital"))
    old, new = (dict(_flat({**each, "hospital": None})) for each in (before, now))
    for name in sorted(old.keys() | new.keys()):
        a, b = old.get(name, "nothing"), new.get(name, "nothing")
        if a != b:
            lines.append(f"  {name}: {_shown(a)} then, {_shown(b)} now")
    return lines


def _hospital_lines(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    lines = []
    for site in sorted(before.keys() | now.keys()):
        if site not in now or site not in before:
            lines.append(
                f"  hospital {site}: {'was not there then' if site in now else 'not named now'}"
            )
            continue
        old, new = _part(before, site), _part(now, site)
        others = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
        if others:
            lines.append(f"  hospital {site}: another {', another '.join(others)}")
    return lines


def _part(inputs: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = inputs.get(name)
    return found if isinstance(found, Mapping) else {}


def _flat(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _shown(value: object) -> str:
    text = str(value)
    return f"{text[:_SHOWN]}…" if len(text) == 64 and " " not in text else text
