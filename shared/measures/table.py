"""The measures, by name: the one place that a new one is added to. Imports every measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import Field

from shared.measures.bone import Bone, BoneSettings
from shared.measures.comparison import Comparison, ComparisonSettings
from shared.measures.errors import Errors, ErrorsSettings
from shared.measures.importance import Importance, ImportanceSettings
from shared.measures.maps import Maps, MapsSettings
from shared.measures.scored import Measure, MeasureTask
from shared.measures.subgroups import Subgroups, SubgroupsSettings

MeasureSettings = Annotated[
    BoneSettings
    | ComparisonSettings
    | ErrorsSettings
    | ImportanceSettings
    | MapsSettings
    | SubgroupsSettings,
    Field(discriminator="kind"),
]
_BUILDERS: Mapping[str, Callable[[Any, MeasureTask], Measure]] = {
    "bone": Bone.build,
    "comparison": Comparison.build,
    "errors": Errors.build,
    "importance": Importance.build,
    "maps": Maps.build,
    "subgroups": Subgroups.build,
}
MEASURES = tuple(sorted(_BUILDERS))


def build_measure(settings: MeasureSettings, task: MeasureTask) -> Measure:
    """The measure of a plan's stage.

    Raises:
        SettingsError: it does not suit the plan's task or fields.
    """
    return _BUILDERS[settings.kind](settings, task)
