"""Options of a person's own: looked at file by file before Hydra composes them, mistakes by place.

A file is ``GROUP/NAME.yaml`` as the shipped ones in ``configs/`` are. Imports errors and YAML only.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from shared.errors import SettingsError
from shared.machine.yaml_file import YamlMistakesError, load_yaml
from shared.strict import nearest

# What Hydra wants at the head of a file that names options of several groups.
PACKAGE_LINE = "# @package _global_"
_GLOBAL = "experiment"
_OVERRIDE = "override "

# Of ``configs``, the folder of sweeps: lists of settings, and no group of options.
SWEEPS = "sweep"

Options = Mapping[str, Sequence[str]]


def options_of(folders: Sequence[Path]) -> dict[str, list[str]]:
    """The names that each group has in any of the folders."""
    found: dict[str, set[str]] = {}
    for group in (path for folder in folders for path in folder.iterdir() if path.is_dir()):
        if group.name == SWEEPS:
            continue
        found.setdefault(group.name, set()).update(file.stem for file in group.glob("*.yaml"))
    return {group: sorted(names) for group, names in found.items()}


def take_own(own: Path, further: Path, shipped: Path) -> None:
    """Copy a person's own files among the options; a shipped one is never replaced.

    Args:
        own: the person's folder.
        further: folder for the copies.
        shipped: folder of the options that come with OsteoFed.

    Raises:
        SettingsError: with every file that cannot be an option, and why.
    """
    files = sorted(path for path in own.rglob("*") if path.suffix in (".yaml", ".yml"))
    groups, mine = options_of([shipped]), options_of([own])
    options = {group: [*names, *mine.get(group, [])] for group, names in groups.items()}
    problems = []
    for path in files:
        place = path.relative_to(own)
        wrong = _place_problem(place, own, groups)
        found = [wrong] if wrong else list(_file_problems(path, place.parent.name, options))
        problems += [f"  {place}: {problem}" for problem in found]
        if not found:
            (further / place.parent).mkdir(exist_ok=True)
            shutil.copyfile(path, further / place)
    if problems or not files:
        raise SettingsError(
            "invalid-configs",
            f"{own} must hold options as GROUP/NAME.yaml:\n"
            + ("\n".join(problems) or "  it holds no YAML file"),
            hint="configs/README.md says what the groups are; docs/how-to/own-disease.md has one",
        )


def inherits_nothing(own: Path, choices: Sequence[str]) -> list[str]:
    """A line per chosen task of one's own that has no defaults, so that nothing follows for it."""
    names = [choice.partition("=")[2] for choice in choices if choice.startswith("task=")]
    found = []
    for name in names:
        path = own / "task" / f"{name}.yaml"
        content = load_yaml(path) if path.is_file() else None
        if isinstance(content, Mapping) and "defaults" not in content:
            kind = content.get("kind", "regression")
            found.append(
                f"  task/{name}.yaml: has no defaults; below `defaults: [{kind}]` what it leaves out, "
                "bounds of the validation among them, follows from the label of --cohort FILE"
            )
    return found


def _place_problem(place: Path, own: Path, groups: Options) -> str:
    """Why a file cannot be an option where it lies; empty where it can."""
    group = place.parent.as_posix()
    if place.suffix != ".yaml":
        return "its name must end in .yaml"
    if group == "." and own.resolve().name in groups:
        return f"name the folder above, {own.resolve().parent}: options lie in a folder of their group"
    if group not in groups:
        return f"must lie in a folder named as one of {sorted(groups)}" + nearest(group, groups)
    if place.stem in groups[group]:
        return f"a {group} of that name comes with OsteoFed; name it otherwise"
    return ""


def _file_problems(path: Path, group: str, options: Options) -> Iterator[str]:
    try:
        content = load_yaml(path)
    except YamlMistakesError as error:
        yield from (line.strip() for line in str(error).splitlines())
        return
    if not isinstance(content, Mapping):
        yield "must hold settings as `name: value`"
        return
    if group == _GLOBAL:
        if PACKAGE_LINE not in path.read_text(encoding="utf-8-sig").splitlines():
            yield f"its first line must be `{PACKAGE_LINE}`: it speaks of several groups"
        for name, value in content.items():
            if name in options and name != _GLOBAL and isinstance(value, str):
                yield f"{name}: choose it under defaults, as `- override /{name}: {value}`"
    entries = content.get("defaults", [])
    if not isinstance(entries, list):
        yield "defaults: must be a list"
        return
    for entry in entries:
        yield from _entry_problems(entry, group, options)


def _entry_problems(entry: object, group: str, options: Options) -> Iterator[str]:
    """What is wrong with a line under ``defaults``: `name`, or `override /group: name`.

    Of the option's own group, one may stand inside it: `/learner@then: name`.
    """
    if isinstance(entry, str):
        if entry != "_self_":
            yield from _name_problems(group, entry, options)
        return
    if not isinstance(entry, Mapping) or len(entry) != 1:
        yield f"defaults: must hold names, or `{_OVERRIDE}/GROUP: NAME`"
        return
    [(key, value)] = entry.items()
    named = str(key).removeprefix(_OVERRIDE).partition("@")[0]
    of = named.removeprefix("/")
    if of not in options:
        yield f"defaults: {key}: {of} must be one of {sorted(options)}" + nearest(of, options)
    elif str(key).partition("@")[0] != f"{_OVERRIDE}/{of}" and not str(key).startswith(f"/{group}@"):
        yield f"defaults: {key}: must be `{_OVERRIDE}/{of}: {value}`"
    else:
        for name in value if isinstance(value, list) else [value]:
            yield from _name_problems(of, str(name), options)


def _name_problems(group: str, name: str, options: Options) -> Iterator[str]:
    if name not in options[group]:
        known = sorted(options[group])
        yield f"defaults: {group} must be one of {known}, not '{name}'" + nearest(name, known)
