"""Every measure has a YAML that names it, and is built with exactly the settings there."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from server.federation.compose import compose_settings
from shared.contract.decision import decision_of
from shared.contract.settings import MeasureRequest
from shared.measures.scored import MeasureTask
from shared.measures.table import MEASURES, build_measure

FOLDER = Path(__file__).resolve().parents[3] / "configs" / "measure"


def shipped(kind: str) -> dict[str, object]:
    values: dict[str, object] = yaml.safe_load((FOLDER / f"{kind}.yaml").read_text())
    return values


def test_there_is_one_yaml_for_each_measure() -> None:
    assert tuple(sorted(path.stem for path in FOLDER.iterdir())) == MEASURES


@pytest.mark.parametrize("kind", MEASURES)
def test_a_yaml_names_its_measure_and_sets_everything(kind: str) -> None:
    settings = MeasureRequest.model_validate(shipped(kind)).measure
    shipped_run = compose_settings()
    assert settings.kind == kind
    assert settings.model_fields_set == set(type(settings).model_fields)
    measure = build_measure(settings, MeasureTask(decision_of(shipped_run), shipped_run.cohort.fields))
    assert measure.shares() == (1.0,), "a measure is one sum"
    assert measure.length(measure.start()) > 0


def test_an_unknown_measure_or_setting_is_refused() -> None:
    for change in ({"kind": "oracle"}, {"bins": 3}):
        request = shipped("errors")
        request["measure"] = {**request["measure"], **change}  # type: ignore[dict-item]
        with pytest.raises(ValidationError):
            MeasureRequest.model_validate(request)
