"""Adds a Debian image's packages to the CycloneDX list of its Python packages.

``python3 sbom.py IMAGE PYTHON.json DPKG_STATUS OUT.json``; run while an image is built.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.parse import quote


def debian_components(status: str) -> list[dict[str, str]]:
    """The installed packages in the text of ``/var/lib/dpkg/status``, as CycloneDX components."""
    components = []
    for stanza in status.split("\n\n"):
        pairs = [line.split(": ", 1) for line in stanza.splitlines() if not line.startswith(" ")]
        fields = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
        if fields.get("Status") == "install ok installed":
            name, version = fields["Package"], fields["Version"]
            purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={fields['Architecture']}"
            components.append(
                {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
            )
    return components


def complete(image: str, python: dict[str, object], status: str) -> dict[str, object]:
    """The list of a whole image: its Python packages and its Debian packages."""
    found = python.get("components", [])
    components = [*(found if isinstance(found, list) else []), *debian_components(status)]
    described = {"component": {"type": "container", "bom-ref": image, "name": image}}
    return {key: value for key, value in python.items() if key != "dependencies"} | {
        "metadata": described,
        "components": components,
    }


if __name__ == "__main__":
    image, python, status, out = sys.argv[1:]
    listed = complete(image, json.loads(Path(python).read_text()), Path(status).read_text())
    Path(out).write_text(json.dumps(listed, indent=1, sort_keys=True))
