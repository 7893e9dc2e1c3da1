"""What the plan of a table is made from, by public sizes alone: whom it will find, in how many bins.

Imports the contract and the choice of bins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from shared.contract.stages import BlockWeights, PatientGroup, Ranking
from shared.exam.schema import SplitRule
from shared.measure.table.bins import bins_for
from shared.measure.table.spec import row_norm


def patients_asked(
    split: SplitRule, patients: PatientGroup, *, declared: int, minimum_patients: int
) -> float:
    """How many of a site's declared patients a stage is expected to ask.

    Args:
        split: shares of a cohort.
        patients: the group that is asked.
        declared: patients that the site declares.
        minimum_patients: how many accrued patients a stage is planned for.
    """
    if patients == "accrued":
        return float(minimum_patients)
    shares = {"train": split.train, "internal": split.internal, "everybody": 1.0}
    return declared * shares[patients]


def bins_of(
    sizes: Sequence[float], noise: float, blocks: BlockWeights, ranking: Ranking, *, n_classes: int
) -> int:
    """Best for all sites' tables together: they are of one shape, and a single one says less.

    Args:
        sizes: patients that each site is expected to have in its table.
        noise: the stage's noise multiplier.
        blocks, ranking: of the stage.
        n_classes: of the decision.
    """
    return bins_for(
        noise_multiplier=noise * math.sqrt(len(sizes)),
        sensitivity=row_norm(blocks),
        weight=blocks.ranking / (math.sqrt(n_classes) if ranking == "each" else 1.0),
        n_patients=sum(sizes),
    )
