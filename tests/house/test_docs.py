"""The documentation is a test subject: what exists is documented, what is documented exists."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from markdown_files import documents
from reference.codes import code_list
from reference.commands import PROGRAMS, leaves

from server.experiments.page import (
    demo_block,
    demo_pages,
    figure_pages,
    figures_block,
    read_demo,
    read_figures,
)

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
GLOSSARY = (ROOT / "GLOSSARY.md").read_text()
# Words the glossary forbids for one meaning and the field needs for another.
OTHER_MEANINGS = {
    *("test", "val", "dev", "config", "spec", "step", "record", "sample", "params", "gradients"),
    *("history", "filter", "guard", "limit", "network", "node", "client", "checkpoint", "check"),
    *("iteration", "epoch", "skip", "drop", "line", "cutoff", "modality", "experiment", "cohort"),
    *("accountant", "quota", "pred", "gt", "model", "study", "user", "case"),
    *("task", "query", "statistic"),
}


def forbidden_words() -> set[str]:
    words = set()
    for row in GLOSSARY.splitlines():
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if len(cells) == 3 and cells[0].startswith("**"):
            plain = re.sub(r"\(.*?\)", "", cells[2])
            words |= {word.strip() for word in plain.split(",") if re.fullmatch(r"\s*[a-z]+\s*", word)}
    return words - OTHER_MEANINGS


def test_glossary_forbids_something() -> None:
    assert {"party", "centre", "consortium", "datapoint", "researcher"} <= forbidden_words()


def test_names_in_the_source_keep_to_the_glossary() -> None:
    forbidden = forbidden_words()
    found = []
    for package in ("server", "client", "shared"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    words = re.findall(r"[A-Z]?[a-z]+", node.name)
                    found += [
                        f"{path.name}:{node.lineno} {node.name}"
                        for word in words
                        if word.lower() in forbidden
                    ]
    assert not found


def test_readme_is_short_and_says_what_the_software_is_not_for() -> None:
    assert len(README.splitlines()) <= 110
    assert "not a medical device" in README.lower()
    assert "## What leaves a site" in README


def test_measured_pages_and_blocks_are_what_the_kept_data_give() -> None:
    figures, demo = read_figures(ROOT), read_demo(ROOT)
    for name, text in (figure_pages(figures) | demo_pages(demo)).items():
        assert (ROOT / name).read_text() == text, f"{name}: run make figures"
    for name, block in (("figures", figures_block(figures)), ("demo", demo_block(demo))):
        assert f"<!-- {name} -->\n{block}<!-- /{name} -->" in README, "README: run make figures"
    assert 100 < (ROOT / "docs" / "pictures" / "report.png").stat().st_size < 250_000


@pytest.mark.parametrize("program", ["osteofed-coordinator", "osteofed-site"])
def test_every_command_is_in_the_readme_of_its_side(program: str) -> None:
    side = {"osteofed-coordinator": "server", "osteofed-site": "client"}[program]
    commands = {name.split()[0] for name, _ in leaves(PROGRAMS[program])}
    manual = (ROOT / side / "README.md").read_text()
    for name in commands:
        assert f"`{name}" in manual, name


def test_every_code_that_is_logged_as_an_event_is_in_the_list() -> None:
    listed = set(code_list())
    logged = set()
    for path in (ROOT / "server").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                logged |= set(re.findall(r"^(?:run|protocol|engine)\.[a-z][a-z0-9-]+$", node.value))
            if isinstance(node, ast.keyword) and node.arg == "code" and is_text(node.value):
                logged.add(node.value.value)
            if isinstance(node, ast.JoinedStr) and is_text(node.values[0]):
                logged |= set(re.findall(r"^(?:run|protocol|engine)\.[a-z-]+$", node.values[0].value))
    assert len(logged) > 8
    logged -= {"run.json", ""}
    assert {code + "…" if code.endswith("-") else code for code in logged} <= listed


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_decisions_are_numbered_and_dated_newest_first() -> None:
    lines = (ROOT / "DECISIONS.md").read_text().splitlines()
    heads = [line for line in lines if line.startswith("## ")]
    found = [re.fullmatch(r"## D-(\d{3}) · (\d{4}-\d{2}-\d{2}) · .+", head) for head in heads]
    assert all(found), [head for head, match in zip(heads, found, strict=True) if not match]
    numbers = [int(match[1]) for match in found if match]
    assert numbers == list(range(len(numbers), 0, -1)), "a number is missing, or used twice"
    dates = [match[2] for match in found if match]
    assert dates == sorted(dates, reverse=True)


def test_every_source_file_that_a_document_names_exists() -> None:
    missing = [
        f"{document.relative_to(ROOT)}: {name}"
        for document in documents()
        for name in re.findall(r"(?<![\w./-])((?:[\w.-]+/)*[\w-]+\.py)\b", document.read_text())
        if "NAME" not in name  # what a reader writes
        if not any((folder / name).exists() for folder in (ROOT, document.parent, *rooms(document)))
    ]
    assert not missing


def test_every_module_that_a_docstring_names_exists() -> None:
    missing = []
    for package in ("server", "client", "shared"):
        for path in (ROOT / package).rglob("*.py"):
            for name in re.findall(r"``((?:server|client|shared)\.[\w.]+)``", path.read_text()):
                module = ROOT / name.replace(".", "/")
                owner = module.parent  # the last word may be a name in a module
                if not any(at.is_dir() or at.with_suffix(".py").exists() for at in (module, owner)):
                    missing.append(f"{path.relative_to(ROOT)}: {name}")
    assert not missing


def rooms(document: Path) -> list[Path]:
    """Folders in the folder of a README, whose files it may name without them."""
    is_readme = document.name == "README.md" and document.parent != ROOT
    return [path for path in document.parent.iterdir() if path.is_dir()] if is_readme else []


def test_version_of_package_changelog_and_citation_are_one() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    heads = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert heads[0] == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(version)}\] - \d{{4}}-\d{{2}}-\d{{2}}", heads[1])
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (cited["version"], cited["date-released"]) == (version, heads[1].split(" - ")[1])
    assert cited["license"] == "Apache-2.0"
    kinds = set(re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE))
    known = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Privacy", "Clinical"}
    assert kinds <= known
