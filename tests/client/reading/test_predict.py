"""Reading one exam at the site: values are checked together, nothing is charged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from table_site import TableSites

from client.reading.predict import predict, read_values
from shared.contract.release import Release, ReleaseRecord
from shared.errors import IntakeError
from shared.exam.schema import read_schema
from shared.model.build import build_model
from shared.model.weights import load_flat

HIP = read_schema(Path(__file__).resolve().parents[3] / "configs" / "cohort" / "hip_bmd.yaml")
VALUES = {
    **{"radius": "18.2", "texture": "21", "perimeter": "121", "area": "1010", "smoothness": "0.1"},
    **{"compactness": "0.13", "concavity": "0.16", "concave_points": "0.09", "symmetry": "0.18"},
    "fractal_dimension": "0.06",
}


def test_a_table_only_release_gives_the_models_own_probability(sites: TableSites) -> None:
    plan = sites.plan
    record = ReleaseRecord.model_construct(plan_sha256=plan.sha256)
    release = Release(record=record, plan=plan, weights=sites.weights)
    reading = predict(sites.site(), release, [], VALUES)
    fields = plan.settings.cohort.fields
    row = torch.tensor(
        [[(float(VALUES[f.name]) - f.reference_mean) / f.reference_sd for f in fields]]
    ).float()
    model = build_model(plan.settings, generator_seed=0)
    load_flat(model, sites.weights)
    model.eval()
    nothing = torch.zeros(1, 0, 0, 0), torch.zeros(1, 0, dtype=torch.int64)
    with torch.no_grad():
        logits = model(*nothing, row[:, None], torch.ones_like(row, dtype=torch.bool)[:, None])[:, 0]
    assert reading.value == pytest.approx(torch.softmax(logits, 1)[0, 1].item(), abs=1e-6)
    assert reading.class_name == ("malignant" if reading.value >= 0.5 else None)
    assert (reading.unit, reading.t_score, reading.heat_maps) == ("probability", None, ())
    assert sites.charges() == 0
    assert sites.gate().outbox.show() == ()


def test_every_unusable_value_is_named_at_once_and_none_is_repeated() -> None:
    with pytest.raises(IntakeError) as caught:
        read_values({"age": "471.5", "shoe": "4711", "sex": "perhaps"}, HIP)
    fact = caught.value.fact
    assert caught.value.code == "intake.unusable-values"
    for name in ("age", "shoe", "sex"):
        assert f"  {name}: must be" in fact
    for value in ("471", "perhaps"):
        assert value not in fact
