"""Every measure has a YAML of its name, and each YAML's measure is built with exactly its settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from server.federation.compose import compose_settings
from shared.contract.settings import MeasureRequest
from shared.errors import SettingsError
from shared.measures.table import MEASURES, build_measure
from shared.stages.measure import measure_task

FOLDER = Path(__file__).resolve().parents[3] / "configs" / "measure"


def shipped(kind: str) -> dict[str, object]:
    values: dict[str, object] = yaml.safe_load((FOLDER / f"{kind}.yaml").read_text())
    return values


FILES = sorted(path.stem for path in FOLDER.iterdir())


def kind_of(file: str) -> str:
    """The measure that a file is named after, the longest where a measure's own name holds ``_``."""
    known = [kind for kind in MEASURES if file == kind or file.startswith(f"{kind}_")]
    return max(known, key=len, default="")


def test_each_measure_has_a_yaml_of_its_name_and_no_yaml_is_of_anything_else() -> None:
    assert set(MEASURES) <= set(FILES)
    variants = set(FILES) - set(MEASURES)
    assert all(kind_of(name) for name in variants)


@pytest.mark.parametrize("file", FILES)
def test_a_yaml_names_its_measure_and_sets_everything(file: str) -> None:
    settings = MeasureRequest.model_validate(shipped(file)).measure
    shipped_run = compose_settings(["experiment=hip_fracture"] if file == "survival" else [])
    assert settings.kind == kind_of(file)
    assert settings.model_fields_set == set(type(settings).model_fields)
    measure = build_measure(settings, measure_task(shipped_run))
    assert measure.n_cells > 0
    assert measure.norm > 0


@pytest.mark.parametrize("file", sorted(set(FILES) - {"survival"}))
def test_a_measure_that_takes_every_label_as_known_is_refused_a_time_to_event(file: str) -> None:
    settings = MeasureRequest.model_validate(shipped(file)).measure
    with pytest.raises(SettingsError, match="measured by measure=survival") as error:
        build_measure(settings, measure_task(compose_settings(["experiment=hip_fracture"])))
    assert error.value.code == "settings.not-of-follow-up"


def test_yamls_of_one_measure_can_be_asked_for_together() -> None:
    asked = compose_settings([f"measure=[{','.join(FILES)}]"]).measures
    assert sorted(asked) == FILES, "each has a name of its own in the plan"
    assert [each.measure.field for name, each in asked.items() if name.startswith("subgroups")] == [
        "sex",
        "age",
        "bmi",
        "vendor",
    ]


def test_an_unknown_measure_or_setting_is_refused() -> None:
    for change in ({"kind": "oracle"}, {"bins": 3}):
        request = shipped("errors")
        request["measure"] = {**request["measure"], **change}  # type: ignore[dict-item]
        with pytest.raises(ValidationError):
            MeasureRequest.model_validate(request)
