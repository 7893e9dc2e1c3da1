"""The reference is what the code says: each page, written anew, is the committed one, and whole."""

from __future__ import annotations

import ast
import importlib
import re
from functools import cache
from pathlib import Path
from typing import get_type_hints

import pytest
from mirror import SOURCES, module_of
from pydantic import BaseModel
from reference import files
from reference.commands import PROGRAMS, leaves
from reference.fields import meanings, rows_of, takes
from reference.file_formats import FOLDERS, RECORDS
from reference.pages import FOLDER, reference
from reference.settings import GROUPS, comment_of, options_of

from client.people.purge import DELETED, KEPT
from server.federation.compose import CONFIGS
from server.federation.own_options import SWEEPS
from shared.contract import protocol, settings

ROOT = Path(__file__).resolve().parents[2]
NO_FILE = {
    "PLAN_VERSION": "the model that the table names has it",
    "SWEEP_VERSION": "the model that the table names has it",
    "PREPROCESSING_VERSION": "how films are prepared: cohorts and releases name it",
}
OWN_VERSION = "CohortSchema"  # whose version is its author's


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    return reference()


def test_every_page_of_the_reference_is_what_the_code_says(written: dict[str, str]) -> None:
    committed = {path.name: path.read_text() for path in FOLDER.glob("*.md")}
    assert sorted(committed) == sorted(written), "run make docs"
    changed = [name for name, text in written.items() if committed[name] != text]
    assert changed == [], "run make docs"


def test_every_command_and_option_is_on_the_page(written: dict[str, str]) -> None:
    page = written["commands.md"]
    for program, group in PROGRAMS.items():
        for name, command in leaves(group):
            section = page.split(f"\n### {program} {name}\n")[1].split("\n### ")[0]
            assert command.params
            for option in [option for parameter in command.params for option in parameter.opts]:
                shown = option if option.startswith("-") else option.upper().replace("_", "-")
                assert shown in section or f"`{shown}`" in page.split(f"\n## {program}\n")[1], option


def test_every_group_and_option_of_configs_is_described() -> None:
    assert set(GROUPS) == {path.parent.name for path in CONFIGS.glob("*/*.yaml")} - {SWEEPS}
    for group in GROUPS:
        for name, path in options_of(group).items():
            assert len(comment_of(path)) > 20, f"{group}={name} opens with no comment"


@cache
def validated() -> tuple[type[BaseModel], ...]:
    """Every validated object of the source."""
    named = [
        (module_of(source), node.name)
        for source in SOURCES
        for node in ast.parse((ROOT / source).read_text()).body
        if isinstance(node, ast.ClassDef) and node.bases
    ]
    found = [getattr(importlib.import_module(module), name) for module, name in named]
    return tuple(kind for kind in found if issubclass(kind, BaseModel))


def test_every_field_of_a_validated_object_or_message_has_a_meaning() -> None:
    kinds = {*validated(), *protocol.KINDS.values(), *RECORDS}
    assert len(kinds) > 80
    unsaid = {kind.__name__: [row.name for row in rows_of(kind) if not row.meaning] for kind in kinds}
    assert {name: fields for name, fields in unsaid.items() if fields} == {}
    for kind in kinds:
        assert set(meanings(kind)) <= set(get_type_hints(kind)), kind.__name__


def test_what_a_field_takes_is_said_in_words() -> None:
    fields = settings.PrivacySettings.model_fields
    assert takes(fields["epsilon"].annotation, fields["epsilon"]) == "number > 0, ≤ 50, or `null`"
    assert takes(fields["mode"].annotation, fields["mode"]) == "`patient_dp` · `off`"
    assert takes(fields["canaries"].annotation, fields["canaries"]) == "whole number ≥ 0, ≤ 10,000"


@cache
def version_constants() -> set[str]:
    """Names of the constants that are the version of a stored format."""
    targets = [
        target
        for source in SOURCES
        for node in ast.walk(ast.parse((ROOT / source).read_text()))
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in names if re.fullmatch(r"[A-Z]+_(VERSION|FORMAT)", name)}


def test_every_version_of_a_format_is_that_of_a_file_in_the_reference() -> None:
    told = (ROOT / "tests" / "house" / "reference" / "files.py").read_text()
    assert len(version_constants()) > 10
    assert {name for name in version_constants() if name not in told} == set(NO_FILE)
    versioned = {kind.__name__ for kind in validated() if "version" in kind.model_fields}
    named = [file.version for _, folder in FOLDERS.values() for file in folder]
    assert versioned - {OWN_VERSION} == {kind.__name__ for kind in named if isinstance(kind, type)}


def test_every_entry_of_a_sites_folder_is_one_that_a_purge_knows() -> None:
    assert {file.path.partition("/")[0] for file in files.SITE} == set(DELETED) | set(KEPT)


def test_versions_of_files_are_those_of_their_models() -> None:
    by_path = {file.path: file for file in files.COORDINATOR}
    assert by_path["runs/RUN/plan.json"].version_words == "4"
    assert by_path["sites.json"].version_words == ""
