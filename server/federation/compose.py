"""Settings from ``configs/`` and overrides: the one door to Hydra, used at the coordinator only.

All mistakes in overrides are collected and raised together. A cohort schema may lie in any folder: it
is composed as a file of the group ``cohort`` and stays where it is. Imports settings and errors.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from shared.contract.settings import Settings, read_settings
from shared.errors import SettingsError
from shared.exam.schema import read_schema
from shared.learners.refused import refusal_of
from shared.machine.files import PROJECT

CONFIGS = PROJECT / "configs"
# What a cohort file from another folder is called while settings are composed.
_GIVEN = "given_cohort"


def compose_settings(
    overrides: Sequence[str] = (), *, configs: Path = CONFIGS, cohort: str | Path | None = None
) -> Settings:
    """The validated settings of ``configs/config.yaml`` under overrides.

    Args:
        overrides: ``group=name`` or ``group.key=value``, as Hydra writes them.
        configs: folder with ``config.yaml`` and the groups.
        cohort: a cohort schema's file, wherever it lies, or the name of one in ``configs``.

    Raises:
        SettingsError: an override is malformed, names no option, or yields an invalid setting; or the
            cohort's file is missing or not valid.

    Example:
        >>> compose_settings(["privacy.epsilon=1"]).privacy.epsilon
        1.0
    """
    choices, values, problems = _sort_overrides(overrides, configs)
    if cohort is not None and any(choice.startswith("cohort=") for choice in choices):
        problems.append("  cohort: must be named once, as a file or as a setting")
        cohort = None
    with _cohort_choices(cohort, configs) as chosen:
        return _validated([*chosen, *choices], values, problems, configs)


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


@contextmanager
def _cohort_choices(named: str | Path | None, configs: Path) -> Iterator[list[str]]:
    """The choices that put a cohort file in the place of the group's, while they hold."""
    if named is None:
        yield []
        return
    path = cohort_file(named, configs=configs)
    read_schema(path)  # every mistake in it by name
    with tempfile.TemporaryDirectory(prefix="osteofed-") as folder:
        copy = Path(folder) / "cohort" / f"{_GIVEN}.yaml"
        copy.parent.mkdir()
        shutil.copyfile(path, copy)
        yield [f"hydra.searchpath=[file://{folder}]", f"cohort={_GIVEN}"]


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


def _sort_overrides(overrides: Sequence[str], configs: Path) -> tuple[list[str], list[str], list[str]]:
    groups = {
        folder.name: sorted(file.stem for file in folder.glob("*.yaml"))
        for folder in configs.iterdir()
        if folder.is_dir()
    }
    choices, values, problems = [], [], []
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.replace(".", "").replace("_", "").isalnum():
            problems.append(f"  {override}: must be group=name or group.key=value")
        elif key == "learner" and refusal_of(value) is not None:
            # has no file; the settings refuse it by its kind
            values.append(f"++learner.kind={value}")
        elif key in groups and not set(_names_in(value)) <= set(groups[key]):
            problems.append(f"  {key}: must be one of {groups[key]}, not '{value}'")
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
    return {str(key): value for key, value in values.items()}
