"""Settings from ``configs/`` and overrides: the one door to Hydra, used at the coordinator only.

All mistakes in overrides are collected and raised together. Files of a person's own may lie in any
folder: they are composed from copies and stay where they are. Imports settings, schema and errors.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from server.federation.defaults import settings_for
from shared.contract.settings import Settings, read_settings
from shared.errors import SettingsError
from shared.exam.schema import CohortSchema, read_schema
from shared.learners.refused import refusal_of
from shared.machine.files import PROJECT
from shared.machine.yaml_file import YamlMistakesError, load_yaml
from shared.strict import nearest

CONFIGS = PROJECT / "configs"
# What a cohort file from another folder is called while settings are composed.
_GIVEN = "given_cohort"


def compose_settings(
    overrides: Sequence[str] = (),
    *,
    configs: Path = CONFIGS,
    cohort: str | Path | None = None,
    own: Path | None = None,
) -> Settings:
    """The validated settings of ``configs/config.yaml`` under overrides.

    Args:
        overrides: ``group=name`` or ``group.key=value``, as Hydra writes them.
        configs: folder with ``config.yaml`` and the groups.
        cohort: a cohort schema's file, wherever it lies, or the name of one in ``configs``. What its
            label says, the task follows (``defaults.settings_for``), and the experiment is named by it.
        own: a folder with further options of the same groups, ``GROUP/NAME.yaml``.

    Raises:
        SettingsError: an override is malformed, names no option, or yields an invalid setting; or a
            file is missing or not valid.

    Example:
        >>> compose_settings(["privacy.epsilon=1"]).privacy.epsilon
        1.0
    """
    with tempfile.TemporaryDirectory(prefix="osteofed-") as folder:
        further = Path(folder)
        _take_own(own, further, configs)
        choices, values, problems = _sort_overrides(overrides, (configs, further))
        if cohort is not None and any(choice.startswith("cohort=") for choice in choices):
            problems.append("  cohort: must be named once, as a file or as a setting")
            cohort = None
        if own is not None:
            _require_own_cohort(choices, further)
        chosen, made = [f"hydra.searchpath=[file://{further}]"], []
        if cohort is not None:
            made = settings_for(_take_cohort(cohort, further, configs), overrides)
            followed = _sort_overrides(made, (configs, further))
            chosen += [f"cohort={_GIVEN}", *followed[0]]
            values = [*followed[1], *values]
        settings = _validated([*chosen, *choices], values, problems, configs)
    # what no experiment of ours describes is called by its cohort
    return settings.model_copy(update={"experiment": settings.cohort.name}) if made else settings


def cohort_file(named: str | Path, *, configs: Path = CONFIGS) -> Path:
    """The file of a cohort schema: one of ``configs/cohort`` by name, or any by its path.

    Raises:
        SettingsError: there is none.
    """
    shipped = {path.stem: path for path in sorted((configs / "cohort").glob("*.yaml"))}
    path = shipped.get(str(named), Path(named))
    if not path.is_file():
        raise SettingsError(
            "no-cohort-file",
            f"a cohort must be a YAML file or one of {sorted(shipped)}, not {named}",
            hint="give the path of your cohort schema; configs/cohort/hip_bmd.yaml is an example",
        )
    return path


def follow_cohort(cohort: str | Path, overrides: Sequence[str]) -> list[str]:
    """What ``compose_settings`` makes up of a cohort's file, for people to read.

    Raises:
        SettingsError: the file is missing or not valid.
    """
    return settings_for(read_schema(cohort_file(cohort)), overrides)


def _take_cohort(named: str | Path, further: Path, configs: Path) -> CohortSchema:
    """Put a cohort's file among the options."""
    path = cohort_file(named, configs=configs)
    schema = read_schema(path)  # every mistake in it by name
    copy = further / "cohort" / f"{_GIVEN}.yaml"
    copy.parent.mkdir(exist_ok=True)
    shutil.copyfile(path, copy)
    return schema


def _take_own(own: Path | None, further: Path, configs: Path) -> None:
    """Put a person's own files among the options; a shipped one is never replaced."""
    if own is None:
        return
    groups, problems = _options((configs,)), []
    files = sorted(own.rglob("*.yaml"))
    for path in files:
        place = path.relative_to(own)
        group = place.parent.as_posix()
        if group not in groups:
            problems.append(f"  {place}: must lie in a folder named as one of {sorted(groups)}")
        elif path.stem in groups[group]:
            problems.append(f"  {place}: a {group} of that name comes with OsteoFed; name it otherwise")
        else:
            problems += _syntax_problems(path, place)
            (further / group).mkdir(exist_ok=True)
            shutil.copyfile(path, further / place)
    if problems or not files:
        raise SettingsError(
            "invalid-configs",
            f"{own} must hold options as GROUP/NAME.yaml:\n"
            + ("\n".join(problems) or "  it holds no YAML file"),
            hint="configs/README.md says what the groups are",
        )


def _syntax_problems(path: Path, place: Path) -> list[str]:
    try:
        load_yaml(path)
    except YamlMistakesError as error:
        return [f"  {place}: {line.strip()}" for line in str(error).splitlines()]
    return []


def _require_own_cohort(choices: Sequence[str], further: Path) -> None:
    """Read a chosen cohort of a person's own: its mistakes have lines."""
    for choice in choices:
        group, _, name = choice.partition("=")
        path = further / "cohort" / f"{name}.yaml"
        if group == "cohort" and path.is_file():
            read_schema(path)


def _validated(choices: list[str], values: list[str], problems: list[str], configs: Path) -> Settings:
    composed = _compose([*choices, *values], configs)
    try:
        settings = read_settings(composed, shipped=_compose(choices, configs) if values else composed)
    except SettingsError as error:
        if not problems:
            raise
        problems += error.fact.splitlines()[1:] or [f"  learner: {error.fact}; {error.hint}"]
    if problems:
        raise SettingsError(
            "invalid",
            f"{len(problems)} setting{'s are' if len(problems) > 1 else ' is'} not valid:\n"
            + "\n".join(problems),
            hint="correct the overrides; the options are the files in configs/",
        )
    return settings


def _options(folders: Sequence[Path]) -> dict[str, list[str]]:
    """The names that each group has in any of the folders."""
    found: dict[str, set[str]] = {}
    for group in (path for folder in folders for path in folder.iterdir() if path.is_dir()):
        found.setdefault(group.name, set()).update(file.stem for file in group.glob("*.yaml"))
    return {group: sorted(names) for group, names in found.items()}


def _sort_overrides(
    overrides: Sequence[str], folders: Sequence[Path]
) -> tuple[list[str], list[str], list[str]]:
    groups = _options(folders)
    choices, values, problems = [], [], []
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.replace(".", "").replace("_", "").isalnum():
            problems.append(f"  {override}: must be group=name or group.key=value")
        elif key == "learner" and refusal_of(value) is not None:
            # has no file; the settings refuse it by its kind
            values.append(f"++learner.kind={value}")
        elif key in groups and not set(_names_in(value)) <= set(groups[key]):
            wrong = [name for name in _names_in(value) if name not in groups[key]]
            guess = "".join(nearest(name, groups[key]) for name in wrong)
            problems.append(f"  {key}: must be one of {groups[key]}, not '{value}'{guess}")
        elif key in groups:
            choices.append(override)
        else:
            # `++` lets an unknown key through, so that validation can name every mistake at once.
            values.append(f"++{override}")
    return choices, values, problems


def _names_in(value: str) -> list[str]:
    """The options that a choice names: one, or several as ``[one,other]``."""
    return [name.strip() for name in value.strip("[]").split(",")]


def _compose(overrides: Sequence[str], configs: Path) -> dict[str, object]:
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(configs)):
            composed = compose("config", overrides=list(overrides))
        values = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise SettingsError(
            "not-composable",
            f"the settings cannot be composed: {str(error).splitlines()[0]}",
            hint="an override must be group=name or group.key=value",
        ) from None
    if not isinstance(values, dict):
        raise SettingsError("not-composable", "configs/config.yaml must be a mapping")
    return _mark_open(values)


def _mark_open(values: Mapping[Any, object]) -> dict[str, object]:
    """Settings that Hydra marks as yet to be given become what no setting can be."""
    return {
        str(key): _mark_open(value) if isinstance(value, Mapping) else ... if value == "???" else value
        for key, value in values.items()
    }
