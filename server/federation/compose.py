"""Settings from ``configs/`` and overrides: the one door to Hydra, used at the coordinator only.

All mistakes in overrides are collected and raised together. Files of a person's own may lie in any
folder: they are composed from copies and stay where they are. Imports settings, schema and errors.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.federation.defaults import fill_open, settings_for
from server.federation.encoder_sources import fill_sources
from server.federation.own_options import inherits_nothing, options_of, take_own
from shared.contract.settings import Settings, read_settings
from shared.errors import SettingsError
from shared.exam.schema import CohortSchema, read_schema
from shared.learners.refused import refusal_of
from shared.machine.files import PROJECT
from shared.signing.canonical import hash_file
from shared.strict import nearest

if TYPE_CHECKING:
    from omegaconf import DictConfig

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
        RunError: the encoder's file of a source is not at hand.
        WeightsError: such a file lacks the components that are asked.

    Example:
        >>> compose_settings(["privacy.epsilon=1"]).privacy.epsilon
        1.0
    """
    return compose_followed(overrides, configs=configs, cohort=cohort, own=own)[0]


def compose_followed(
    overrides: Sequence[str] = (),
    *,
    configs: Path = CONFIGS,
    cohort: str | Path | None = None,
    own: Path | None = None,
) -> tuple[Settings, tuple[str, ...]]:
    """As ``compose_settings``, and what was made up of the cohort's file, for people to read."""
    with tempfile.TemporaryDirectory(prefix="osteofed-") as folder:
        further = Path(folder)
        if own is not None:
            take_own(own, further, configs)
        choices, values, problems = _sort_overrides(overrides, (configs, further))
        if cohort is not None and any(choice.startswith("cohort=") for choice in choices):
            problems.append("  cohort: must be named once, as a file or as a setting")
            cohort = None
        if own is not None:
            _require_own_cohort(choices, further)
        chosen, made = [], []
        schema = None if cohort is None else _take_cohort(cohort, further, configs)
        if schema is not None:
            made = settings_for(schema, [*choices, *(value.removeprefix("++") for value in values)])
            followed = _sort_overrides(made, (configs, further))
            chosen = [f"cohort={_GIVEN}", *followed[0]]
            values = [*followed[1], *values]
        shipped, composed = _compose([*chosen, *choices], values, (configs, further))
        composed = _without_unchosen_measures(shipped, composed)
        composed, filled = fill_open(schema, composed) if schema else (composed, [])
        composed = fill_sources(composed, (configs, further))
        notes = inherits_nothing(own, choices) if own else []
        settings = _read(composed, shipped, problems, notes=notes)
    # what no experiment of ours describes is called by its cohort
    named = settings.model_copy(update={"experiment": settings.cohort.name}) if made else settings
    return named, (*made, *filled)


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


def _take_cohort(named: str | Path, further: Path, configs: Path) -> CohortSchema:
    """Put a cohort's file among the options."""
    path = cohort_file(named, configs=configs)
    schema = read_schema(path)  # every mistake in it by name
    copy = further / "cohort" / f"{_GIVEN}.yaml"
    copy.parent.mkdir(exist_ok=True)
    shutil.copyfile(path, copy)
    return schema


def _require_own_cohort(choices: Sequence[str], further: Path) -> None:
    """Read a chosen cohort of a person's own: its mistakes have lines."""
    for choice in choices:
        group, _, name = choice.partition("=")
        path = further / "cohort" / f"{name}.yaml"
        if group == "cohort" and path.is_file():
            read_schema(path)


def _read(
    composed: Mapping[str, object],
    shipped: Mapping[str, object],
    problems: Sequence[str],
    *,
    notes: Sequence[str],
) -> Settings:
    """The settings, validated; their mistakes beside the overrides', and notes on what is behind."""
    found = list(problems)
    try:
        settings = read_settings(composed, shipped=shipped)
    except SettingsError as error:
        if not found and not notes:
            raise
        lines = error.fact.splitlines()[1:] or [f"  {error.fact} ({error.code}); {error.hint}"]
        # where an option has no file, another stands in for it, and what that contradicts says nothing
        found += [line for line in lines if not (problems and line.startswith("  settings: "))]
        found += notes
    if found:
        raise SettingsError(
            "invalid",
            f"{len(found)} setting{'s are' if len(found) > 1 else ' is'} not valid:\n"
            + "\n".join(found),
            hint="correct the overrides; the options are the files in configs/",
        )
    return settings


def _sort_overrides(
    overrides: Sequence[str], folders: Sequence[Path]
) -> tuple[list[str], list[str], list[str]]:
    groups = options_of(folders)
    choices, values, problems = [], [], []
    for override in overrides:
        key, equals, value = override.partition("=")
        # an option of a group in another's place: learner@learner.then=forest
        key, _, place = key.replace("-", "_").partition("@")
        is_word = (key + place).replace(".", "").replace("_", "").isalnum()
        if not equals or not is_word or (place and key not in groups):
            problems.append(f"  {override}: must be group=name or group.key=value")
        elif key in groups and value not in groups[key] and refusal_of(value) is not None:
            # has no file; the settings refuse it by its name
            name = "_".join(re.findall(r"\w+", value.rpartition(".")[2]))
            values.append(f"++{key}.kind={name}" if key == "learner" else f"++{name}=true")
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
    """The options that a choice names: one, several as ``[one,other]``, or none as ``[]``."""
    return [] if value == "[]" else [name.strip() for name in value.strip("[]").split(",")]


@dataclass(frozen=True)
class _Options:
    """A folder of options. One with the same files composes to the same, wherever it lies."""

    folder: Path = field(compare=False)
    files: tuple[tuple[str, str], ...]


def _options_in(folder: Path) -> _Options:
    files = sorted(folder.rglob("*.yaml"))
    return _Options(folder, tuple((str(path.relative_to(folder)), hash_file(path)) for path in files))


def _compose(
    choices: Sequence[str], values: Sequence[str], folders: tuple[Path, Path]
) -> tuple[dict[str, object], dict[str, object]]:
    """What the chosen options say, and the same with values set in it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        chosen = _compose_options(tuple(choices), *map(_options_in, folders))
        values_set = deepcopy(chosen)
        # as Hydra sets them, and not once more through every file
        for each in OverridesParser.create().parse_overrides(list(values)):
            if each.is_sweep_override():
                raise HydraException(f"{str(each.input_line).lstrip('+')} gives several values")
            OmegaConf.update(values_set, each.key_or_group, each.value(), merge=True, force_add=True)
        found = [OmegaConf.to_container(each, resolve=True) for each in (chosen, values_set)]
    except (HydraException, OmegaConfBaseException) as error:
        raise SettingsError(
            "not-composable",
            f"the settings cannot be composed: {str(error).splitlines()[0]}",
            hint="an override must be group=name or group.key=value; a list is group.key=[a,b]",
        ) from None
    shipped, composed = (_mark_open(each) for each in found if isinstance(each, dict))
    return shipped, composed


@lru_cache(maxsize=256)
def _compose_options(choices: tuple[str, ...], ours: _Options, further: _Options) -> DictConfig:
    """Options of our folder and a further one. Reading every file takes a third of a second: once."""
    from hydra import compose, initialize_config_dir

    searched = f"hydra.searchpath=[file://{further.folder}]"
    with initialize_config_dir(version_base="1.3", config_dir=str(ours.folder)):
        return compose("config", overrides=[searched, *choices])


def _without_unchosen_measures(
    shipped: Mapping[str, Any], composed: Mapping[str, Any]
) -> dict[str, object]:
    """Settings without what an experiment sets of a measure that ``measure=`` has taken off."""
    of_options = shipped.get("measures", {})
    left = {name for name, values in of_options.items() if "groups" not in values}
    kept = {
        name: values
        for name, values in composed.get("measures", {}).items()
        if name not in left or values != of_options[name]
    }
    return {**composed, "measures": kept} if left else dict(composed)


def _mark_open(values: Mapping[Any, object]) -> dict[str, object]:
    """Settings that Hydra marks as yet to be given become what no setting can be."""
    return {
        str(key): _mark_open(value) if isinstance(value, Mapping) else ... if value == "???" else value
        for key, value in values.items()
    }
