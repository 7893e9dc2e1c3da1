"""Commands as documents show them: split as a shell does, and held against the programs that run them.

Knows the programs' own parsers, the Makefile and how settings are composed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec

import click
from markdown_files import ROOT, Block
from reference.commands import PROGRAMS, leaves

from server.federation.compose import compose_settings
from server.simulation.request import is_setting
from shared.errors import OsteoFedError

Words = tuple[str, ...]
_SEPARATORS = frozenset({"&&", "||", "|", ";", "&", "(", ")", "()", ";;"})
_BEFORE = frozenset({"do", "then", "else", "!", "time", "exec", "nohup", "{"})
_LOOPS = frozenset({"for", "while", "if", "done", "fi", "case", "esac", "}"})
# How click says what a sentence need not: "RUN is missing", "Option '--folder' requires an argument."
_LEFT_OUT = ("is missing", "requires an argument.")
_MAKE = (ROOT / "Makefile").read_text()


def commands_of(block: Block) -> Iterator[Words]:
    """The commands of a block, each as its words, without comments, redirections and assignments."""
    for line in _lines(block.text):
        held: list[str] = []
        for word in [*_split(line), ";"]:
            if word not in _SEPARATORS:
                held.append(word)
                continue
            words = _command(held)
            if words:
                yield words
            held = []


def mistake_in(words: Words) -> str:
    """What is wrong with a command of ours or a make target; empty: nothing, or it is neither."""
    for place, word in enumerate(words):
        if word in PROGRAMS:
            return _mistake_of_program(PROGRAMS[word], words[place + 1 :])
    return _mistake_of_make(words[1:]) if words[0] == "make" else ""


def _lines(text: str) -> Iterator[str]:
    """Whole lines, joined where a backslash or an open quote ends them; without here-documents."""
    lines = iter(text.replace("\\\n", " ").splitlines())
    for line in lines:
        while _split(line) is None:
            line += "\n" + next(lines)
        yield line
        end = re.search(r"<<-?\s*['\"]?(\w+)", line)
        while end and next(lines).strip() != end[1]:
            pass


def _split(line: str) -> list[str] | None:
    """The words and signs of a line; None where a quote is open."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:
        return None


def _command(words: list[str]) -> Words:
    kept: list[str] = []
    is_target = False  # of a redirection
    for word in words:
        is_sign = re.fullmatch(r"[<>]+&?", word) is not None
        if is_sign and kept and kept[-1].isdigit():
            kept.pop()
        is_assigned = not kept and re.match(r"\w+=", word)
        if not (is_target or is_sign or is_assigned or (not kept and word in _BEFORE)):
            kept.append(word)
        is_target = is_sign
    return () if kept and kept[0] in _LOOPS else tuple(kept)


def mistake_in_sentence(text: str) -> str:
    """As of ``mistake_in`` for a command that a sentence names, which may leave out what is required.

    Args:
        text: what stands between the backticks; ``[WORD…]`` and ``group=NAME`` are open.
    """
    is_open = re.compile(r"\[.*\]|[\w.]+=[A-Z]+")
    for words in commands_of(Block(ROOT / "README.md", 1, "sh", text, "")):
        mistake = mistake_in(tuple(word for word in words if not is_open.fullmatch(word)))
        if mistake and not mistake.endswith(_LEFT_OUT):
            return mistake
        if words[:2] == ("python", "-m") and not is_module(words[2]):
            return f"no such module: {words[2]}"
    return ""


def is_module(name: str) -> bool:
    """Whether ``python -m`` finds a module."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _find(program: click.Group, words: Words) -> tuple[str, click.Command | None]:
    commands = dict(leaves(program))
    name = next((name for name in (" ".join(words[:2]), *words[:1]) if name in commands), "")
    return name, commands.get(name)


def _mistake_of_program(program: click.Group, words: Words) -> str:
    if not words or words[0].startswith("-"):
        return "" if set(words) <= {"--help"} else f"no such option: {words[0]}"
    name, command = _find(program, words)
    if command is None:
        return f"no such command: {' '.join(words[:2])}"
    rest = list(words[len(name.split()) :])
    return "" if "--help" in rest else _mistake_of_command(command, name, rest)


def _mistake_of_command(command: click.Command, name: str, words: list[str]) -> str:
    context = click.Context(command, info_name=name)
    try:
        parsed, left, _ = command.make_parser(context).parse_args(args=words)
        values = {key: given for key, given in parsed.items() if _is_given(given)}
        for parameter in command.params:
            if parameter.required and parameter.name not in values:
                return f"{name}: {parameter.opts[0]} is missing"
            is_free = isinstance(parameter.type, click.Path) or _is_placeholder(
                values.get(parameter.name)
            )
            if parameter.name in values and not is_free:
                parameter.type_cast_value(context, values[parameter.name])
    except click.UsageError as error:
        return f"{name}: {error.format_message()}"
    if left:
        return f"{name}: too many arguments: {left}"
    typed = (*values.get("overrides", ()), *filter(is_setting, values.get("words", ())))
    # What lies in files of the reader's own is known where the page is run.
    has_own_files = values.get("cohort", "").endswith(".yaml") or "configs" in values
    return _mistake_of_settings(typed) if typed and not has_own_files else ""


def _is_placeholder(given: object) -> bool:
    """Whether a word stands for what a reader puts there: ``N``, ``$count``, ``…``."""
    return re.fullmatch(r"[A-Z]+|\$.*|…", str(given)) is not None


def _is_given(given: object) -> bool:
    """Whether a parsed value was typed; click has a mark of its own for what was not."""
    return isinstance(given, str | bool | list | tuple) and given not in ([], ())


@cache
def _mistake_of_settings(overrides: Words) -> str:
    try:
        compose_settings(overrides)
    except OsteoFedError as error:
        return f"{error.code}: {error.fact}"
    return ""


def _mistake_of_make(words: Words) -> str:
    given = dict(word.split("=", 1) for word in words if "=" in word)
    for target in [word for word in words if "=" not in word]:
        recipe = re.search(rf"^{re.escape(target)}:.*\n((?:\t.*\n)*)", _MAKE, flags=re.MULTILINE)
        if recipe is None:
            return f"no such target: make {target}"
        for line in re.findall(r"^\t\$\(BIN\)/(osteofed-.+)$", recipe[1], flags=re.MULTILINE):
            typed = shlex.split(line.replace("$(ARGS)", given.get("ARGS", "")))
            mistake = mistake_in(tuple(typed))
            if mistake:
                return f"make {target}: {mistake}"
    return ""
