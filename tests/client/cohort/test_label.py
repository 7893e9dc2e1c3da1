"""BMD of three vendors, T-scores and classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from client.cohort.label import check_declaration, convert_bmd, label_bmd
from client.site.profile import SiteProfile
from shared.errors import IntakeError
from shared.exam.schema import BmdLabel, CohortSchema

HIP = Path(__file__).parents[3] / "configs" / "cohort" / "hip_bmd.yaml"


@pytest.fixture
def label() -> BmdLabel:
    found = CohortSchema.model_validate(yaml.safe_load(HIP.read_text())).label
    assert isinstance(found, BmdLabel)
    return found


@pytest.mark.parametrize(("hologic", "lunar", "t_score"), [(0.738, 0.899, -1), (0.558, 0.691, -2.5)])
def test_vendors_agree_at_the_published_cuts(label, hologic, lunar, t_score):
    # Lu et al. 2001 with NHANES III: T −1 is .738 Hologic = .899 Lunar, T −2.5 is .558 = .691.
    assert convert_bmd(lunar, vendor="lunar", label=label) == pytest.approx(hologic, abs=6e-4)
    assert label_bmd(hologic, vendor="hologic", label=label).t_score == pytest.approx(t_score)


def test_norland_by_hand(label):
    # (0.006 + 0.985·0.8 − 0.019) / 1.087
    assert convert_bmd(0.8, vendor="norland", label=label) == pytest.approx(0.712971, abs=1e-6)


def test_own_vendor_is_unchanged(label):
    assert convert_bmd(0.7, vendor="hologic", label=label) == pytest.approx(0.7, abs=1e-12)


@pytest.mark.parametrize(
    ("bmd", "name"),
    [
        (0.739, "normal"),
        (0.738, "osteopenia"),
        (0.559, "osteopenia"),
        (0.558, "osteoporosis"),
        (0.3, "osteoporosis"),
    ],
)
def test_t_score_on_a_threshold_belongs_to_the_worse_class(label, bmd, name):
    assert label_bmd(bmd, vendor="hologic", label=label).class_name == name


@pytest.mark.parametrize(
    ("vendor", "region", "code"),
    [
        (None, "femoral_neck", "intake.undeclared-vendor"),
        ("ge", "femoral_neck", "intake.undeclared-vendor"),
        ("lunar", None, "intake.wrong-skeletal-site"),
        ("lunar", "total_hip", "intake.wrong-skeletal-site"),
    ],
)
def test_undeclared_scanner_or_other_region_is_refused(label, vendor, region, code):
    with pytest.raises(IntakeError) as refusal:
        check_declaration(label, SiteProfile(dxa_vendor=vendor, dxa_skeletal_site=region))
    assert refusal.value.code == code
