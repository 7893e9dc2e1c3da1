"""Mass attenuation of bone mineral, soft tissue and titanium by photon energy.

Source: Hubbell and Seltzer, NISTIR 5632 (NIST Standard Reference Database 126): soft tissue of ICRU-44
and titanium as tabulated; mineral as hydroxyapatite, Ca10(PO4)6(OH)2, mixed by mass of its elements'
values. Between energies the logarithms are interpolated. Imports numpy only.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Material = Literal["mineral", "soft_tissue", "titanium"]

ENERGIES_KEV = (30.0, 40.0, 50.0, 60.0, 80.0, 100.0)
CM2_PER_G: dict[Material, tuple[float, ...]] = {
    "mineral": (2.10, 0.988, 0.586, 0.407, 0.259, 0.202),
    "soft_tissue": (0.379, 0.269, 0.226, 0.205, 0.182, 0.169),
    "titanium": (4.972, 2.214, 1.213, 0.766, 0.405, 0.272),
}
SOFT_TISSUE_G_CM3, TITANIUM_G_CM3 = 1.06, 4.54


def mass_attenuation(material: Material, energy_kev: float) -> float:
    """Attenuation in cm²/g at an energy from 30 to 100 keV; beyond, that of the nearest end."""
    logs = np.interp(np.log(energy_kev), np.log(ENERGIES_KEV), np.log(CM2_PER_G[material]))
    return float(np.exp(logs))
