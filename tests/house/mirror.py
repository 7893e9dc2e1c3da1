"""Which test holds a source file to account: the one of its name, or the one that is named here."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
SOURCES = sorted(
    path.relative_to(ROOT)
    for package in ("server", "client", "shared")
    for path in (ROOT / package).rglob("*.py")
    if path.name != "__init__.py"
)


@dataclass(frozen=True)
class Elsewhere:
    """The test of a file that has none of its name, and why; ``through``: a source file in between."""

    test: str
    why: str
    through: str = ""


_COMMAND = "a command is tried as it is typed, on a whole site"
_DEMO = "it sets up what the whole run then shows"
_PACS = "it speaks with a real PACS, which the services tests start"
_RECOUNT = "a claim is shown on forgeries of whole runs, not on invented evidence"

ELSEWHERE: dict[str, Elsewhere] = {
    "client/answers/hello.py": Elsewhere(
        "client/test_app.py", "who is greeted, and what is refused, is asked of the whole ClientApp"
    ),
    "client/cohort/assemble.py": Elsewhere(
        "client/cohort/test_folder.py", "arrays are made of a frozen cohort, on disk"
    ),
    "client/cohort/patients.py": Elsewhere(
        "client/people/test_lost_files.py", "patients are loaded from a whole site"
    ),
    "client/cohort_page/figures.py": Elsewhere(
        "client/cohort_page/test_page.py", "figures are counted by hand on the page's own ward"
    ),
    "client/cohort_page/pictures.py": Elsewhere(
        "client/cohort_page/test_page.py", "pictures are looked for on the page"
    ),
    "client/command/people.py": Elsewhere(
        "client/people/test_withdrawal.py", _COMMAND, through="client/command/app.py"
    ),
    "client/command/trial.py": Elsewhere("client/rehearsal/test_rehearse.py", _COMMAND),
    "client/intake/accrue.py": Elsewhere(
        "client/people/test_withdrawal.py", "a lock is accepted and served by a whole site"
    ),
    "client/intake/inputs.py": Elsewhere(
        "client/intake/test_films.py", "which files a folder holds is a part of scanning it"
    ),
    "client/intake/sources/credentials.py": Elsewhere(
        "client/intake/test_tables.py", "a secret is for a database, and tried with one"
    ),
    "client/intake/sources/dicomweb.py": Elsewhere("services/test_pacs.py", _PACS),
    "client/intake/sources/dimse.py": Elsewhere("services/test_pacs.py", _PACS),
    "client/intake/sources/tables.py": Elsewhere(
        "client/intake/test_tables.py", "a source of rows is right when its rows are the CSV's"
    ),
    "client/rehearsal/learning.py": Elsewhere(
        "client/rehearsal/test_rehearse.py", "a rehearsal is shown whole, on a site of tables"
    ),
    "client/rehearsal/round.py": Elsewhere(
        "client/rehearsal/test_rehearse.py", "a rehearsal is shown whole, on a site of tables"
    ),
    "server/engines/loopback.py": Elsewhere("federation/test_real_engines.py", _DEMO),
    "server/engines/sweep.py": Elsewhere(
        "server/command/test_sweep.py", "a sweep is cut off and goes on over real hospitals"
    ),
    "server/report/answers.py": Elsewhere(
        "server/report/test_description.py", "answers are journalled by a run and read back from it"
    ),
    "server/report/results.py": Elsewhere(
        "server/report/test_page.py", "results that contradict themselves are refused beside their page"
    ),
    "server/simulation/hospitals.py": Elsewhere(
        "server/simulation/test_simulate.py",
        "hospitals are played through a whole simulation",
        through="server/simulation/play.py",
    ),
    "server/simulation/play.py": Elsewhere(
        "server/simulation/test_simulate.py", "its steps are a whole simulation, cut off and resumed"
    ),
    "shared/audit/canary/records.py": Elsewhere(
        "shared/audit/canary/test_conformance.py", "records are read to be examined"
    ),
    "shared/audit/recount/evidence.py": Elsewhere("shared/audit/recount/test_claims.py", _RECOUNT),
    "shared/audit/recount/held_weights.py": Elsewhere("shared/audit/recount/test_weights.py", _RECOUNT),
    "shared/audit/recount/ledger.py": Elsewhere("shared/audit/recount/test_claims.py", _RECOUNT),
    "shared/audit/recount/recounted.py": Elsewhere("shared/audit/recount/test_claims.py", _RECOUNT),
    "shared/audit/recount/releases.py": Elsewhere(
        "shared/audit/recount/test_claims.py", _RECOUNT, through="shared/audit/recount/claims.py"
    ),
    "shared/audit/recount/statement.py": Elsewhere(
        "shared/audit/recount/test_claims.py", _RECOUNT, through="shared/audit/recount/claims.py"
    ),
    "shared/measure/description/reading.py": Elsewhere(
        "shared/measure/description/test_rows.py", "rows and their reading are shown against pandas"
    ),
    "shared/measure/table/reading.py": Elsewhere(
        "shared/measure/table/test_rows.py", "rows and their reading are shown against the cohort"
    ),
    "shared/privacy/sweep_text.py": Elsewhere(
        "server/federation/test_sweep.py", "a sweep's rows are read off one that was drafted"
    ),
    "shared/model/fusion.py": Elsewhere(
        "shared/model/test_build.py", "each fusion is built from its YAML and tried"
    ),
}


ARCHITECTURES = "shared/model/architectures.py"


def networks() -> dict[str, Elsewhere]:
    """Networks of the table of encoders, which one test holds to account row by row."""
    held = Elsewhere(
        "shared/model/test_architectures.py",
        "a published network is held against its publisher's own, each against its row",
        through=ARCHITECTURES,
    )
    names = {f"{name.replace('.', '/')}.py" for name in imports_of(ROOT / ARCHITECTURES)}
    return {
        name: held
        for name in sorted(names)
        if (ROOT / name).exists() and not mirrored(Path(name)).exists()
    }


def module_of(path: Path | str) -> str:
    return ".".join(Path(path).with_suffix("").parts)


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Every module that a file imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
    return frozenset(found)


@cache
def helpers() -> dict[str, Path]:
    """Files beside the tests that tests import by their bare name."""
    return {path.stem: path for path in TESTS.rglob("*.py") if not path.name.startswith("test_")}


@cache
def reach_of(test: Path) -> frozenset[str]:
    """What a test imports, itself or through helpers and fixtures beside the tests."""
    found, todo, seen = set[str](), [test], {test}
    for folder in test.relative_to(TESTS).parents:
        todo += [path for path in [TESTS / folder / "conftest.py"] if path.exists()]
    while todo:
        names = imports_of(todo.pop())
        found |= names
        for path in [helpers()[name] for name in names if name in helpers()]:
            if path not in seen:
                seen.add(path)
                todo.append(path)
    return frozenset(found)


def mirrored(source: Path) -> Path:
    return TESTS / source.parent / f"test_{source.name}"


def only_declares(text: str) -> bool:
    """Whether no function of a file has a body beyond its docstring."""
    bodies = [
        [each for each in node.body if not (isinstance(each, ast.Expr) and is_text_or_dots(each))]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return not any(bodies)


def is_text_or_dots(statement: ast.Expr) -> bool:
    return isinstance(statement.value, ast.Constant) and (
        statement.value.value is ... or isinstance(statement.value.value, str)
    )


def lacking(sources: Iterable[Path]) -> list[str]:
    named = {Path(name) for name in ELSEWHERE}
    return [
        str(path)
        for path in sources
        if not mirrored(path).exists()
        and path not in named
        and not only_declares((ROOT / path).read_text())
    ]


def find_tests(source: Path) -> list[Path]:
    """The tests of a source file, best first: of its name or named, then all that import it."""
    named = ELSEWHERE.get(source.as_posix())
    first = mirrored(source) if mirrored(source).exists() else TESTS / named.test if named else None
    name = module_of(source)
    others = [path for path in sorted(TESTS.rglob("test_*.py")) if name in imports_of(path)]
    return [*([first] if first else []), *(path for path in others if path != first)]


ELSEWHERE |= networks()
