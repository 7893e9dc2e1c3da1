"""The measures, by name: the one place that a new one is added to. Imports every measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import Field

from shared.errors import SettingsError
from shared.measures.bone import Bone, BoneSettings
from shared.measures.comparison import Comparison, ComparisonSettings
from shared.measures.errors import Errors, ErrorsSettings
from shared.measures.importance import Importance, ImportanceSettings
from shared.measures.maps import Maps, MapsSettings
from shared.measures.scored import Measure, MeasureTask
from shared.measures.subgroups import Subgroups, SubgroupsSettings
from shared.measures.survival import Survival, SurvivalSettings

MeasureSettings = Annotated[
    BoneSettings
    | ComparisonSettings
    | ErrorsSettings
    | ImportanceSettings
    | MapsSettings
    | SubgroupsSettings
    | SurvivalSettings,
    Field(discriminator="kind"),
]
_BUILDERS: Mapping[str, Callable[[Any, MeasureTask], Measure]] = {
    "bone": Bone.build,
    "comparison": Comparison.build,
    "errors": Errors.build,
    "importance": Importance.build,
    "maps": Maps.build,
    "subgroups": Subgroups.build,
    "survival": Survival.build,
}
MEASURES = tuple(sorted(_BUILDERS))


def build_measure(settings: MeasureSettings, task: MeasureTask) -> Measure:
    """The measure of a plan's stage.

    Raises:
        SettingsError: it does not suit the plan's task or fields.
    """
    if task.follow_up is not None and settings.kind != "survival":
        raise SettingsError(
            "not-of-follow-up",
            f"measure {settings.kind} takes every label as known, which a censored one is not",
            hint="a time to event is measured by measure=survival",
        )
    return _BUILDERS[settings.kind](settings, task)
