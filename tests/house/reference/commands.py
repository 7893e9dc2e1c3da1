"""``commands.md``: every command of the three programs, from the parsers that they run."""

from __future__ import annotations

from collections.abc import Iterator

import click
import typer
from reference.markdown import cell, code, fenced, page, slug, table

from client.command.app import app as site
from server.command.app import app as coordinator
from shared.audit.command import EXIT_CODES
from shared.audit.command import app as auditor

PROGRAMS: dict[str, click.Group] = {
    name: typer.main.get_command(app)  # type: ignore[dict-item]
    for name, app in (
        ("osteofed-site", site),
        ("osteofed-coordinator", coordinator),
        ("osteofed-auditor", auditor),
    )
}
_INTRODUCTION = (
    "Three programs: [`osteofed-site`](#osteofed-site) for a hospital, "
    "[`osteofed-coordinator`](#osteofed-coordinator) for who plans and aggregates, "
    "[`osteofed-auditor`](#osteofed-auditor) for who checks. Data goes to stdout, progress and errors "
    "to stderr; `--json` prints one JSON value instead of tables. Each command has `--help`. What an "
    "argument such as `privacy.epsilon=1` may set is in [settings](settings.md); what an error code "
    "means in [codes](codes.md)."
)
_COLUMNS = ("argument or option", "takes", "default", "meaning")
_Row = tuple[str, str, str, str]
_VERDICTS = {
    "pass": "nothing that was examined is refuted",
    "fail": "a claim is refuted",
    "not-run": "no claim could be examined",
}


def commands_page() -> str:
    """The page."""
    parts = [_program(name, group) for name, group in PROGRAMS.items()]
    asked = fenced("\n".join(f"{name} --help" for name in PROGRAMS), "sh")
    return page("Commands", _INTRODUCTION, ["<!-- run: help -->", *asked[1:]], _exit_codes(), *parts)


def leaves(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its words, in the order of ``--help``."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


def _exit_codes() -> Iterator[str]:
    rows = [
        ("0", "done"),
        ("1", "not done, or not to be done: an error as fact and hint, or a problem that was found"),
        (str(click.UsageError.exit_code), "the command line is not understood"),
    ]
    rows += [
        (str(number), f"`osteofed-auditor` only: {_VERDICTS[verdict]}")
        for verdict, number in EXIT_CODES.items()
        if number
    ]
    yield from ("## Exit codes", *table(("code", "means"), rows))


def _program(program: str, group: click.Group) -> Iterator[str]:
    shared = _shared(group)
    yield from (f"## {program}", "", cell(group.help))
    listed = [
        (f"[{code(name)}](#{slug(f'{program} {name}')})", _first_sentence(command))
        for name, command in leaves(group)
    ]
    yield from table(("command", "does"), listed)
    if shared:
        yield from ("Most of them take:", *table(_COLUMNS, shared.values()))
    for name, command in leaves(group):
        yield from _command(f"{program} {name}", command, shared)


def _shared(group: click.Group) -> dict[str, _Row]:
    """Options that more than half of a program's commands take, all alike, by their spelling."""
    commands = [command for _, command in leaves(group)]
    rows = [
        _option_row(each)
        for command in commands
        for each in command.params
        if isinstance(each, click.Option)
    ]
    return {row[0]: row for row in rows if rows.count(row) > len(commands) / 2}


def _command(name: str, command: click.Command, shared: dict[str, _Row]) -> Iterator[str]:
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    options = [each for each in command.params if isinstance(each, click.Option)]
    usage = " ".join([name, *(_metavar(each) for each in arguments)])
    required = "".join(f" {each.opts[0]} {_kind(each)}" for each in options if each.required)
    yield from ("", f"### {name}", "", cell(command.help), "", f"`{usage}{required}`")
    rows = [(code(_metavar(each)), _takes(each), _default(each), _help(each)) for each in arguments]
    rows += [_option_row(each) for each in options]
    own = [row for row in rows if shared.get(row[0]) != row]
    if own:
        yield from table(_COLUMNS, own)
    also = ", ".join(row[0].partition(",")[0] for row in rows if row not in own)
    if also:
        yield from ("", f"Also: {also}.", "")


def _first_sentence(command: click.Command) -> str:
    return cell(command.help).partition("; ")[0].partition(". ")[0].rstrip(".")


def _option_row(option: click.Option) -> _Row:
    return (_spelling(option), _takes(option), _default(option), _help(option))


def _metavar(argument: click.Argument) -> str:
    name = (argument.name or "").upper().replace("_", "-")
    name += "…" if argument.nargs == -1 else ""
    return name if argument.required else f"[{name}]"


def _spelling(option: click.Option) -> str:
    return ", ".join(map(code, [*option.opts, *option.secondary_opts]))


def _kind(parameter: click.Parameter) -> str:
    if isinstance(parameter.type, click.Choice):
        return "|".join(map(str, parameter.type.choices))
    if isinstance(parameter.type, click.Path):
        return "FILE"
    names = {"integer": "N", "integer range": "N", "float": "X", "float range": "X"}
    return names.get(parameter.type.name, "TEXT")


def _takes(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return "flag"
    if isinstance(parameter.type, click.Choice):
        words = " · ".join(code(choice) for choice in parameter.type.choices)
    elif isinstance(parameter.type, click.IntRange | click.FloatRange):
        words = {"N": "whole number", "X": "number"}[_kind(parameter)]
        low, high = parameter.type.min, parameter.type.max
        words += f" from {low:g}" if low is not None else ""
        words += f" to {high:g}" if high is not None else ""
    else:
        words = {"N": "whole number", "X": "number", "FILE": "path", "TEXT": "text"}[_kind(parameter)]
    return words + (", several" if parameter.multiple or parameter.nargs == -1 else "")


def _default(parameter: click.Parameter) -> str:
    if parameter.required:
        return "required"
    if parameter.default in (None, "", False, (), []):
        return ""
    several = parameter.default if isinstance(parameter.default, list | tuple) else [parameter.default]
    return " ".join(map(code, several))


def _help(parameter: click.Parameter) -> str:
    variable = f" Else from `{parameter.envvar}`." if parameter.envvar else ""
    return f"{(getattr(parameter, 'help', '') or '').strip()}{variable}"
