"""The container files: what each service may reach and hold, and that the wheel carries every file."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
COMPOSED = {
    name: yaml.safe_load((DOCKER / f"compose.{name}.yaml").read_text()) for name in ("client", "server")
}
CLIENT, SERVER = COMPOSED["client"], COMPOSED["server"]
SERVICES = [(side, name) for side, composed in COMPOSED.items() for name in composed["services"]]


def targets(service: dict[str, Any]) -> dict[str, str]:
    """Mounts of a service: path inside → ``ro`` or ``rw``."""
    found = {}
    for mount in service["volumes"]:
        plain = re.sub(r"\$\{[^}]*\}", "FOLDER", mount)
        _, path, *mode = plain.split(":")
        found[path] = mode[0] if mode else "rw"
    return found


@pytest.mark.parametrize(("side", "name"), SERVICES)
def test_every_service_runs_as_nobody_in_particular_with_nothing_to_write_but_its_folder(
    side: str, name: str
) -> None:
    service = COMPOSED[side]["services"][name]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service)
    if name != "desk":
        assert service["restart"] == "always"
        asked = " ".join(service["healthcheck"]["test"])
        assert ("docker/health.py" in asked) == (name != "link")
        assert ("osteofed-site doctor" in asked) == (side == "client")


def test_the_executor_has_the_data_and_no_way_out() -> None:
    executor = CLIENT["services"]["executor"]
    assert [CLIENT["networks"][network] for network in executor["networks"]] == [{"internal": True}]
    assert "ports" not in executor
    assert targets(executor) == {"/site": "rw", "/run/secrets/executor.secret": "ro"}


def test_the_link_has_a_way_out_and_no_data() -> None:
    link = CLIENT["services"]["link"]
    assert set(link["networks"]) == {"inside", "outside"}
    assert targets(link) == {"/link": "ro"}
    assert "ports" not in link


def test_hospitals_reach_the_door_only_and_it_passes_the_fleet_interface_only() -> None:
    published = {name for name, service in SERVER["services"].items() if "ports" in service}
    assert published == {"door"}
    assert SERVER["services"]["coordinator"]["networks"] == ["inside"]
    assert SERVER["networks"]["inside"] == {"internal": True}
    assert set(targets(SERVER["services"]["door"]).values()) == {"ro"}
    assert not any("ca.key" in mount for mount in SERVER["services"]["door"]["volumes"])
    locations = re.findall(r"location (\S+(?: \S+)?) \{", (DOCKER / "nginx.conf").read_text())
    assert locations == ["/v1/fleet/", "= /health", "/"]
    assert re.search(r"location / \{ return 404; \}", (DOCKER / "nginx.conf").read_text())


def test_images_take_their_base_by_argument_and_end_without_build_tools() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    assert re.search(r"^ARG BASE$", text, flags=re.MULTILINE), "a base is never guessed"
    assert re.search(r"^ARG TORCH_INDEX=$", text, flags=re.MULTILINE), "no build of torch is forced"
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    final = [stage for stage in stages if re.search(r" AS (client|server)\n", stage)]
    assert len(final) == 2
    for stage in final:
        assert stage.split()[0] in {"packed", "server-packed"}
        assert not re.search(r"^RUN", stage, flags=re.MULTILINE)
        assert stage.rstrip().endswith("USER 10001:10001")
    for stage in stages:
        if re.search(r" AS (system|packed|server-packed)\n", stage):
            installed = " ".join(re.findall(r"install --yes .*", stage))
            assert not re.search(r"pip|venv|gcc|make|-dev\b", installed)
            assert not re.search(r"^FROM builder|bin/pip", stage, flags=re.MULTILINE)


def test_no_container_file_names_a_registry_an_index_or_a_machine() -> None:
    for path in DOCKER.iterdir():
        found = re.findall(r"https?://[^\s\"'/:;]+", path.read_text()) if path.is_file() else []
        own = {"https://localhost", "https://127.0.0.1", "https://coordinator"}
        assert set(found) <= own, path.name


def test_the_wheel_carries_every_file_that_the_packages_read() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    data = tool["package-data"]
    packages = [pattern.rstrip("*") for pattern in tool["packages"]["find"]["include"]]
    tracked = subprocess.run(
        ["git", "ls-files", *packages], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    files = [Path(name) for name in tracked if not name.endswith((".py", ".md"))]
    assert len(files) > 20
    for file in files:
        inside = file.relative_to(file.parts[0]).as_posix()
        patterns = [pattern.replace("**/", "*") for pattern in data.get(file.parts[0], [])]
        assert any(fnmatch(inside, pattern) for pattern in patterns), f"package-data misses {file}"


def test_the_sbom_lists_python_and_installed_debian_packages() -> None:
    status = (
        "Package: libssl3\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:3.0~deb+1\n"
        "Description: secure sockets\n continued: line\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n"
    )
    python = {
        "bomFormat": "CycloneDX",
        "components": [{"name": "torch"}],
        "dependencies": [{"ref": "x"}],
    }
    listed = sbom().complete("osteofed-client", python, status)
    assert listed["bomFormat"] == "CycloneDX"
    assert [component["name"] for component in listed["components"]] == ["torch", "libssl3"]
    assert listed["components"][1]["purl"] == "pkg:deb/debian/libssl3@1%3A3.0~deb%2B1?arch=amd64"
    assert listed["metadata"]["component"]["name"] == "osteofed-client"


def sbom() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sbom", DOCKER / "sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
