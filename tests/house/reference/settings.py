"""``settings.md``: every group of settings, its options and fields, from configs/ and the models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel
from reference.fields import linked, rows_of, setting_table, summary, title_of, value
from reference.markdown import code, page, slug, table

from server.federation.compose import CONFIGS
from shared.contract import model_settings as model
from shared.contract import settings as contract
from shared.contract.schedules import ScheduleRow
from shared.contract.stages import StrategySettings
from shared.features import sources
from shared.learners.descent import RateRow
from shared.learners.lasso import LassoSettings
from shared.learners.table import LearnerSettings
from shared.learners.univariate import ShareRow, UnivariateSettings
from shared.learners.varclus import VarclusSettings
from shared.measures.grouping import Vendor
from shared.measures.simple_rule import SimpleRuleSettings, Term
from shared.measures.table import MeasureSettings

# What the settings of learners hold besides numbers.
_OF_LEARNERS = (RateRow, UnivariateSettings, VarclusSettings, LassoSettings, ShareRow)
# Groups of configs/ in the order of the page, with the models of their files and of what these hold.
GROUPS: dict[str, tuple[type[BaseModel], ...]] = {
    "experiment": (),
    "task": (model.RegressionTask, model.ClassificationTask, model.Grade),
    "cohort": (),
    "encoder": (model.EncoderSettings,),
    "fusion": (
        model.CrossAttention,
        model.Concatenation,
        model.LinearHead,
        ScheduleRow,
    ),
    "learner": (contract.GradientLearner, *get_args(get_args(LearnerSettings)[0]), *_OF_LEARNERS),
    "features": (sources.FeatureSettings, *get_args(get_args(sources.FeatureSource)[0])),
    "privacy": (contract.PrivacySettings,),
    "strategy": (StrategySettings,),
    "federation": (contract.FederationSettings,),
    "validation": (contract.ValidationSettings, contract.BlockSettings),
    "measure": (
        contract.MeasureRequest,
        *get_args(get_args(MeasureSettings)[0]),
        SimpleRuleSettings,
        Term,
        Vendor,
    ),
    "engine": (contract.EngineSettings,),
}
_NESTED = (model.Grade, ScheduleRow, contract.BlockSettings, *_OF_LEARNERS, Term, Vendor)
_PREFIXES: dict[type[BaseModel], str] = {
    contract.MeasureRequest: "measures.NAME.",
    **{kind: "features.sources." for kind in get_args(get_args(sources.FeatureSource)[0])},
    SimpleRuleSettings: "measures.NAME.measure.rule.",
    **{kind: "measures.NAME.measure." for kind in get_args(get_args(MeasureSettings)[0])},
}
_ABSENT = object()
_Contents = dict[str, dict[str, Any]]
_INTRODUCTION = (
    "What a coordinator can ask for in `osteofed-coordinator plan`, `demo`, `loopback` and `simulate`. "
    "`group=option` takes another file of `configs/`, `group.key=value` changes one value; both are "
    "written after the command, several of them with spaces between. All mistakes are told at once. "
    "`plan` and `simulate` also take `--configs FOLDER`, a folder with options of your own. A plan "
    "carries every value, so that no hospital needs these files. What a hospital allows is its own: "
    "[policy.yaml](policy.md)."
)


def settings_page() -> str:
    """The page."""
    chosen = _defaults()
    index = [
        (f"[{code(group)}](#{group})", " · ".join(map(code, options_of(group))), code(chosen[group]))
        for group in GROUPS
    ]
    parts = [_group(group, chosen[group]) for group in GROUPS]
    return page(
        "Settings", _INTRODUCTION, table(("group", "options", "if not said"), index), _top(), *parts
    )


def settings_anchors() -> dict[type[BaseModel], str]:
    """Where each model is described: under its own heading, or under its group's."""
    return {
        kind: slug(title_of(kind)) if len(kinds) > 1 else group
        for group, kinds in GROUPS.items()
        for kind in kinds
    }


def options_of(group: str) -> dict[str, Path]:
    """The files of a group by name."""
    return {path.stem: path for path in sorted((CONFIGS / group).glob("*.yaml"))}


def comment_of(path: Path) -> str:
    """What a file says of its option: the comment that it opens with, up to ``schedules:``."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.removeprefix("#").strip())
    return " ".join(lines).partition(" schedules:")[0]


def _defaults() -> dict[str, object]:
    """The option of each group that is taken where nothing is said."""
    listed = yaml.safe_load((CONFIGS / "config.yaml").read_text())["defaults"]
    pairs = [pair for entry in listed if isinstance(entry, dict) for pair in entry.items()]
    return {group: option or "none" for group, option in pairs}


def _top() -> Iterator[str]:
    given = yaml.safe_load((CONFIGS / "config.yaml").read_text())
    rows = [
        (code(row.name), row.takes, value(given[row.name]), row.meaning)
        for row in rows_of(model.ModelSettings)
        if row.name in given
    ]
    yield from ("## Of every run", *table(("setting", "takes", "default", "meaning"), rows))


def _group(group: str, chosen: object) -> Iterator[str]:
    options = options_of(group)
    rows = [
        (_option(group, path) + (", if not said" if name == chosen else ""), comment_of(path))
        for name, path in options.items()
    ]
    yield from ("", f"## {group}", *table(("option", "what it is"), rows))
    if group == "cohort":
        yield "Its fields are in [cohort schemas](cohort-schema.md)."
    kinds = GROUPS[group]
    contents = {name: yaml.safe_load(path.read_text()) for name, path in options.items()}
    if group == "fusion":
        yield from _schedules(contents)
    for kind in kinds:
        told = {name: content for name, content in contents.items() if _is_of(content, kind)}
        prefix = _PREFIXES.get(kind, "" if kind in _NESTED else f"{group}.")
        if len(kinds) > 1:
            yield from ("", f"### {title_of(kind)}")
        yield from ("", summary(kind))
        yield from linked(setting_table(kind, defaults=_alike(told, kind), prefix=prefix), kinds)
        yield from _differing(told, kind, group)


def _option(group: str, path: Path) -> str:
    return f"[{code(path.stem)}](../../configs/{group}/{path.name})"


def _schedules(contents: _Contents) -> Iterator[str]:
    keys = list(ScheduleRow.model_fields)
    rows = [
        (code(name), code(schedule), *(value(row[key]) if key in row else "" for key in keys))
        for name, content in contents.items()
        for schedule, steps in content["schedules"].items()
        for row in steps
    ]
    yield from ("", "### Schedules", "")
    yield "Chosen on public synthetic films. The signal is ε × declared training patients ÷ √sites; the"
    yield "row is the last whose `from_signal` it reaches; `null` is for privacy off, where gradients"
    yield "are not clipped. What each has reached: [schedules](../schedules.md)."
    yield from table(("fusion", "`schedule`", *map(code, keys)), rows)


def _alike(told: _Contents, kind: type[BaseModel]) -> dict[str, str]:
    """What all options of a model say alike, as its defaults are shown."""
    found = {}
    for name in kind.model_fields:
        values = [content.get(name, _ABSENT) for content in told.values()]
        if values and values[0] is not _ABSENT and all(each == values[0] for each in values):
            found[name] = value(values[0]) if _is_short(values[0]) else "as the option says"
    return found


def _differing(told: _Contents, kind: type[BaseModel], group: str) -> Iterator[str]:
    """A table of what an option says otherwise than another."""
    alike = _alike(told, kind)
    rows = []
    for name in kind.model_fields:
        values = [content.get(name, _ABSENT) for content in told.values()]
        is_told = any(each is not _ABSENT for each in values) and all(map(_is_short, values))
        if name not in alike and is_told and values != list(told):
            cells = ["" if each is _ABSENT else value(each) for each in values]
            rows.append((code(name), *cells))
    if rows:
        yield from table((f"what options of `{group}` say", *map(code, told)), rows)


def _is_of(content: dict[str, Any], kind: type[BaseModel]) -> bool:
    """Whether a file's values are a model's: by the word that chooses it, and by its fields."""
    for name in ("kind", "name"):
        words = get_args(kind.model_fields[name].annotation) if name in kind.model_fields else ()
        if words and content.get(name) not in words:
            return False
    return set(content) <= {*kind.model_fields, "schedules", "defaults"}


def _is_short(given: Any) -> bool:
    return given is _ABSENT or ((not isinstance(given, list | dict)) and len(str(given)) < 40)
