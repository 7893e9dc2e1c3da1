"""Attenuation: what is known of cortical bone and of titanium follows from the table."""

import pytest

from server.synthetic.phantoms.attenuation import CM2_PER_G, ENERGIES_KEV, mass_attenuation

# NISTIR 5632, table 4, bone, cortical (ICRU-44), in cm²/g by keV
CORTICAL_BONE = {30: 1.331, 40: 0.6655, 50: 0.4242, 60: 0.3148, 80: 0.2229, 100: 0.1855}
CALCIUM_OF_BONE, CALCIUM_OF_MINERAL = 0.225, 0.399  # mass fractions: ICRU-44; 10 · 40.08 / 1004.6


@pytest.mark.parametrize("energy_kev", CORTICAL_BONE)
def test_mineral_and_matrix_together_are_cortical_bone(energy_kev: int) -> None:
    share = CALCIUM_OF_BONE / CALCIUM_OF_MINERAL
    mixed = share * mass_attenuation("mineral", energy_kev)
    mixed += (1 - share) * mass_attenuation("soft_tissue", energy_kev)
    assert mixed == pytest.approx(CORTICAL_BONE[energy_kev], rel=0.03)


def test_the_table_is_met_at_its_energies_and_falls_between_them() -> None:
    for material, values in CM2_PER_G.items():
        met = [mass_attenuation(material, energy) for energy in ENERGIES_KEV]
        assert met == pytest.approx(values)
        between = [mass_attenuation(material, energy) for energy in (35.0, 45.0, 55.0, 70.0, 90.0)]
        assert all(a > b > c for a, b, c in zip(values, between, values[1:], strict=False))


def test_bone_stands_out_the_more_the_softer_the_beam() -> None:
    contrast = [
        mass_attenuation("mineral", energy) / mass_attenuation("soft_tissue", energy)
        for energy in (36.0, 50.0, 62.0)
    ]
    assert contrast == sorted(contrast, reverse=True)
    assert contrast[0] > 1.5 * contrast[2]
