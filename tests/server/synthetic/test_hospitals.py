"""The demo sites as data."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from client.cohort.quarantine import CODES
from client.site.profile import SiteProfile
from server.synthetic.clinical_table import STANDARDISED_BMD, to_vendor_scale
from server.synthetic.hospitals import (
    DEFECT_CODES,
    DEMO_SITES,
    EXTERNAL_SITE,
    TRAINING_SITES,
    Defects,
    find_site,
    intake_profile,
)
from shared.errors import SettingsError
from shared.exam.schema import CohortSchema

SCHEMA = CohortSchema.model_validate(
    yaml.safe_load(Path("configs/cohort/hip_bmd.yaml").read_text(encoding="utf-8"))
)


def test_training_sites_differ_in_size_scanner_and_dxa_vendor():
    sizes = [site.n_patients for site in TRAINING_SITES]
    assert 900 <= sum(sizes) <= 1100
    assert sizes[1] >= 1.8 * sizes[0]
    assert sizes[2] >= 1.8 * sizes[1]
    assert len({site.dxa_vendor for site in TRAINING_SITES}) == 3
    assert len({scanner.vendor for site in DEMO_SITES for scanner in site.scanners}) == 4
    assert EXTERNAL_SITE not in TRAINING_SITES


def test_films_of_no_two_sites_wear_the_same():
    assert len({site.look for site in DEMO_SITES}) == len(DEMO_SITES)


@pytest.mark.parametrize("site", DEMO_SITES, ids=lambda site: site.name)
def test_every_site_is_messy_within_reason(site):
    planted = asdict(site.defects)
    assert re.fullmatch("[a-z][a-z0-9-]{1,40}", site.name)
    assert min(planted.values()) >= 1
    assert sum(planted.values()) < 0.12 * site.n_patients
    assert len(site.syntaxes) >= 3
    assert sum(share for _, share in site.syntaxes) == pytest.approx(1.0)
    looks = {name: share for name, share in asdict(site.look).items() if name != "bits"}
    assert all(0.0 < share < 1.0 for share in looks.values())
    assert sum(share for _, share in site.look.bits) == pytest.approx(1.0)
    assert 0.2 < site.wide_share < 0.5
    assert {rule.field for rule in site.missing} <= {field.name for field in SCHEMA.fields}


def test_every_defect_has_a_code_that_intake_knows():
    assert set(DEFECT_CODES) == set(asdict(Defects()))
    assert set(DEFECT_CODES.values()) <= set(CODES)


@pytest.mark.parametrize("site", DEMO_SITES, ids=lambda site: site.name)
def test_the_declared_profile_is_one_that_intake_accepts(site):
    profile = SiteProfile.model_validate(intake_profile(site))
    assert profile.dxa_vendor in SCHEMA.label.conversions
    assert profile.dxa_skeletal_site == SCHEMA.label.skeletal_site


def test_an_unknown_site_is_refused_with_the_known_ones():
    with pytest.raises(SettingsError, match="aster") as caught:
        find_site("elm")
    assert caught.value.code == "settings.unknown-synthetic-site"
    assert find_site("dune") is EXTERNAL_SITE


def test_dxa_scales_are_those_of_the_schema():
    assert {name: tuple(pair) for name, pair in SCHEMA.label.conversions.items()} == (STANDARDISED_BMD)


# T = -1 and T = -2.5 by hand: (0.019 + 1.087 * 0.738 + 0.023) / 0.939 = 0.8990, 0.558 -> 0.6907.
@pytest.mark.parametrize(("hologic", "lunar"), [(0.738, 0.8990), (0.558, 0.6907)])
def test_a_lunar_scanner_prints_more_than_a_hologic_one(hologic, lunar):
    assert to_vendor_scale(hologic, "lunar") == pytest.approx(lunar, abs=1e-4)
    assert to_vendor_scale(hologic, "hologic") == pytest.approx(hologic)
