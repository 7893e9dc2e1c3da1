"""The measures, by name: the one place that a new one is added to. Imports every measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import Field

from shared.measures.classes import Classes, ClassesSettings
from shared.measures.errors import Errors, ErrorsSettings
from shared.measures.scored import Measure, Rule

MeasureSettings = Annotated[ClassesSettings | ErrorsSettings, Field(discriminator="kind")]
_BUILDERS: Mapping[str, Callable[[Any, Rule], Measure]] = {
    "classes": Classes.build,
    "errors": Errors.build,
}
MEASURES = tuple(sorted(_BUILDERS))


def build_measure(settings: MeasureSettings, rule: Rule) -> Measure:
    """The measure of a plan's stage, by the plan's rule of classes."""
    return _BUILDERS[settings.kind](settings, rule)
