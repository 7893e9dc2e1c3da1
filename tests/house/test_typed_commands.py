"""Every command that the manual shows exists, and is run by a test or listed as not run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown_files import ROOT, Block, blocks, manual, prose
from page_runs import is_run
from typed_commands import commands_of, mistake_in, mistake_in_sentence

# Commands that no test runs as they are typed, by their first words, and why.
NOT_RUN = {
    "make demo": "tests/federation/test_whole_run.py plays the demo with fewer patients",
    "osteofed-coordinator demo": "tests/federation/test_whole_run.py plays it with fewer patients",
    "make audit": "tests/server/demo/test_audit.py plays it with fewer patients",
    "make install": "it made the environment that this test runs in",
    ". .venv/bin/activate": "it made the environment that this test runs in",
    "make docs": "tests/house/test_reference.py compares the pages with what it would write",
    "make help": "prints lines of the Makefile",
    "osteofed-site start": "tests/federation/test_real_engines.py starts it beside a coordinator",
    "osteofed-coordinator resume": "tests/server/rounds/test_loop.py stops runs and resumes them",
    "osteofed-coordinator drop-site": "tests/server/command/test_runs.py drops a site of a paused run",
    "osteofed-coordinator stop": "tests/server/command/test_runs.py stops a run that is played",
    "osteofed-coordinator enrol": "tests/federation/test_serving.py enrols one beside a server",
    "osteofed-coordinator revoke": "tests/federation/test_serving.py revokes one beside a server",
    "osteofed-coordinator sweep": "tests/server/command/test_sweep.py plays one over tables",
    "osteofed-coordinator phantoms": "tests/server/synthetic/phantoms writes sheets and folders",
    "osteofed-coordinator plan cssc": "tests/federation/test_feature_sources.py plays these settings",
    "osteofed-coordinator plan encoders": "tests/server/federation/test_encoder_sources.py has them",
    "osteofed-coordinator plan cells": "tests/federation/test_feature_sources.py plays these settings",
    "osteofed-coordinator pack": "tests/federation/test_feature_sources.py packs a run's encoder",
    "osteofed-coordinator clusters": "tests/server/encoders/test_public_clusters.py has quicker films",
    "osteofed-coordinator cells": "tests/server/encoders/test_public_cells.py has quicker films",
    "pytest": "this is it",
}
# Pages that no test runs as they stand, and why.
PAGES_NOT_RUN = {
    "docs/how-to/png-trees.md": "needs a tree of films; tests/server/simulation has one",
    "docs/explanation/looking-at-bone.md": "needs films with masks; tests/shared/measures has some",
    "docs/how-to/systems.md": "needs films; tests/server/experiments/test_systems.py plans each arm",
    "docs/how-to/crops-and-masks.md": "needs masks of films; tests/client/cohort has some",
    "docs/how-to/containers.md": "needs a container engine; make loopback-containers plays it",
    "docs/how-to/pacs.md": "needs a PACS; tests/services/test_pacs.py and its neighbours start one",
}
_SHELLS = ("sh", "bash", "shell", "console")
# Blocks that are marked are run, in test_page_runs.py.
SHOWN = [
    block
    for page in manual()
    for block in blocks(page)
    if block.language in _SHELLS and not is_run(block)
]


@pytest.mark.parametrize("block", SHOWN, ids=lambda block: block.place)
def test_every_command_shown_is_one_that_its_program_takes(block: Block) -> None:
    assert [mistake for words in commands_of(block) if (mistake := mistake_in(words))] == []


def test_sources_of_features_are_shown_with_a_whole_plan_that_reads_them() -> None:
    page = (ROOT / "docs" / "how-to" / "own-features.md").read_text()
    shown = [part for part in page.split("\n## ") if "```yaml\nsources:" in part]
    assert len(shown) > 1
    for part in shown:
        [name] = re.findall(r"`features=(\w+)`", part)
        assert re.search(rf"\nosteofed-coordinator plan .*features={name} .*learner=", part)


def is_listed(words: tuple[str, ...], first: str) -> bool:
    return words[: len(first.split())] == tuple(first.split())


@pytest.mark.parametrize("block", SHOWN, ids=lambda block: block.place)
def test_every_command_shown_that_no_test_runs_is_listed_with_its_reason(block: Block) -> None:
    commands = list(commands_of(block))
    if block.page.relative_to(ROOT).as_posix() in PAGES_NOT_RUN:
        return
    unlisted = [words for words in commands if not any(is_listed(words, first) for first in NOT_RUN)]
    assert unlisted == [], "mark the block with <!-- run: NAME -->, or list the command in NOT_RUN"


@pytest.mark.parametrize("first", NOT_RUN)
def test_the_list_of_what_is_not_run_names_only_what_is_shown(first: str) -> None:
    assert any(is_listed(words, first) for block in SHOWN for words in commands_of(block))
    named = [word for word in NOT_RUN[first].split() if word.endswith(".py")]
    assert all((ROOT / name).exists() for name in named)


def test_the_list_of_pages_that_are_not_run_names_only_pages_that_show_commands() -> None:
    shown = {block.page.relative_to(ROOT).as_posix() for block in SHOWN}
    assert set(PAGES_NOT_RUN) <= shown


@pytest.mark.parametrize("page", manual(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_named_in_a_sentence_exist_and_take_what_is_named_with_them(page: Path) -> None:
    typed = re.findall(r"`((?:osteofed-[a-z]+|make|python -m) [^`]+)`", prose(page))
    assert [f"{text}: {said}" for text in typed if (said := mistake_in_sentence(text))] == []


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("osteofed-site ingets FOLDER", "no such command: ingets FOLDER"),
        ("osteofed-site ingest --tables", "ingest: No such option"),
        ("osteofed-site ingest a b c", "ingest: too many arguments"),
        ("osteofed-coordinator plan RUN fusion=none", "settings.invalid"),
        ("make demos", "no such target: make demos"),
        ("python -m server.experiments.learner_page", "no such module"),
        ("python -m no.such.room", "no such module"),
        ("osteofed-site ledger show", ""),
        ("osteofed-coordinator plan", ""),
        ("osteofed-coordinator plan --release", ""),
        ("osteofed-coordinator plan RUN [OVERRIDES…]", ""),
        ("osteofed-coordinator demo fusion=NAME", ""),
        ("make figures", ""),
        ("python -m server.experiments.learners_page", ""),
    ],
)
def test_a_name_in_a_sentence_that_does_not_exist_is_noticed(text: str, mistake: str) -> None:
    said = mistake_in_sentence(text)
    assert said.startswith(mistake)
    assert bool(said) is bool(mistake)


def block_of(text: str) -> Block:
    return Block(Path("page.md"), 1, "sh", text, "")


def test_commands_are_split_as_a_shell_splits_them() -> None:
    text = (
        "A=1 B=2 one 'two three' > out 2>&1 | four   # it's a comment\n"
        "for x in a b; do five $x && six; done\n"
        "seven --option \\\n  value 'a\nb'\n"
        "cat > file <<'END'\nnot a command\nEND\n"
        "! eight & nine\n\n"
    )
    assert list(commands_of(block_of(text))) == [
        ("one", "two three"),
        ("four",),
        ("five", "$x"),
        ("six",),
        ("seven", "--option", "value", "a\nb"),
        ("cat",),
        ("eight",),
        ("nine",),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "osteofed-site --help",
        "osteofed-site ledger show",
        "osteofed-site init aster --declared-patients 110 -f folder",
        "docker compose run --rm desk osteofed-site approve /site/plan.json --by 'First Last'",
        "osteofed-coordinator plan spring privacy.epsilon=1 fusion=linear 'measure=[errors,subgroups]'",
        "osteofed-coordinator simulate north=a.csv south=b.csv --cohort my.yaml privacy.epsilon=1",
        "osteofed-auditor recount plan.json --ledger a.json --ledger b.json",
        "osteofed-site init NAME --declared-patients N",
        'make demo ARGS="privacy=off fusion=linear"',
        "make services && make test",
        "anything else --at all",
    ],
)
def test_a_command_that_exists_has_no_mistake(text: str) -> None:
    assert [mistake_in(words) for words in commands_of(block_of(text))] == [""] * (1 + text.count("&&"))


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("osteofed-site inti aster", "no such command: inti aster"),
        ("osteofed-site --version", "no such option: --version"),
        ("osteofed-site ledger", "no such command: ledger"),
        ("osteofed-site init aster", "init: --declared-patients is missing"),
        ("osteofed-site init --declared-patients 9", "init: name is missing"),
        ("osteofed-site init aster --declared-patients many", "init: .*not a valid int"),
        ("osteofed-site init aster --declared 9", "init: No such option"),
        ("osteofed-site join a.json b.json", "join: too many arguments"),
        ("osteofed-coordinator enrol a.json --role auditor", "enrol: .*not one of"),
        ("osteofed-coordinator plan spring privacy.epsilom=1", "settings.invalid"),
        ("osteofed-coordinator plan spring fusion=none", "settings.invalid"),
        ("osteofed-coordinator simulate a=a.csv privacy.epsilon=-1", "settings.invalid"),
        ("docker compose run desk osteofed-site ingets /archive", "no such command"),
        ("make demos", "no such target: make demos"),
        ('make demo ARGS="privacy.epsilon=0"', "make demo: settings.invalid"),
        ('make demo ARGS="--nothing"', "make demo: demo: No such option"),
    ],
)
def test_a_command_that_does_not_exist_is_noticed(text: str, mistake: str) -> None:
    [words] = commands_of(block_of(text))
    assert re.match(mistake, mistake_in(words)), mistake_in(words)
