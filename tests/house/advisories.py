"""Compares the pins with known advisories, where a database is at hand; else says that it is not.

The database is OSV's archive (``PyPI/all.zip`` of osv-vulnerabilities.storage.googleapis.com, a JSON
file each; ossf.github.io/osv-schema); ``OSTEOFED_ADVISORIES`` says where. Nothing is fetched.
"""

from __future__ import annotations

import json
import os
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

PLACE = "OSTEOFED_ADVISORIES"
PINS = Path(__file__).resolve().parents[2] / "constraints.txt"


def read_pins(text: str) -> dict[str, Version]:
    """Pinned version by normalised name (PEP 503)."""
    found = re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)
    return {normal(name): Version(version) for name, version in found}


def normal(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def advisories_for(pins: Mapping[str, Version], records: Iterator[dict[str, Any]]) -> list[str]:
    """A line for each record that is about a pinned version and was not withdrawn."""
    lines = []
    for record in records:
        if "withdrawn" in record:
            continue
        for affected in record.get("affected", ()):
            package = affected.get("package", {})
            name = normal(package.get("name", ""))
            if package.get("ecosystem") == "PyPI" and name in pins and is_hit(pins[name], affected):
                names = ", ".join([record["id"], *record.get("aliases", ())])
                lines.append(f"{name} {pins[name]}: {names}: {record.get('summary', 'no summary')}")
    return sorted(set(lines))


def is_hit(version: Version, affected: Mapping[str, Any]) -> bool:
    """Whether a version is listed, or lies in a range, of an affected package."""
    listed = {read for text in affected.get("versions", ()) if (read := as_version(text))}
    ranges = [each for each in affected.get("ranges", ()) if each.get("type") == "ECOSYSTEM"]
    return version in listed or any(is_within(version, each["events"]) for each in ranges)


def is_within(version: Version, events: list[Mapping[str, str]]) -> bool:
    """Whether the last event at or before a version introduced the fault."""
    turns = []
    for event in events:
        ((kind, text),) = event.items()
        at = Version("0") if text == "0" else as_version(text)
        if at is not None and kind in ("introduced", "fixed", "last_affected"):
            turns.append((at, kind))
    is_in = False
    for at, kind in sorted(turns):
        if kind == "introduced" and version >= at:
            is_in = True
        if (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
            is_in = False
    return is_in


def as_version(text: str) -> Version | None:
    """A version, or None where the text is none."""
    try:
        return Version(text)
    except InvalidVersion:
        return None


def read_records(archive: Path) -> Iterator[dict[str, Any]]:
    """Every record of the archive."""
    with zipfile.ZipFile(archive) as files:
        for name in files.namelist():
            if name.endswith(".json"):
                yield json.loads(files.read(name))


def main() -> int:
    """Exit code 1 where a pinned version has an advisory; 0 where none has, or nobody can tell."""
    place = os.environ.get(PLACE, "")
    if not place or not Path(place).is_file():
        sys.stdout.write(f"pins are not compared with advisories: {PLACE} names no archive of OSV\n")
        return 0
    pins = read_pins(PINS.read_text())
    lines = advisories_for(pins, read_records(Path(place)))
    said = lines or [f"none of {len(pins)} pinned versions has an advisory in {Path(place).name}"]
    sys.stdout.write("\n".join(said) + "\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
