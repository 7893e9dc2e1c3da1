"""The planted bugs, one entry each: what is broken, which test fails with it, what the audit refutes.

Each is a switch that only tests can reach; everything else stays the real path: policy, ledger, charge,
train, gate. It breaks what its name says and nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import plants_of_noise as noise
import plants_of_patients as patients
import plants_of_rows as rows
import pytest
from plants_of_noise import Plant

Family = Literal["noise", "clipping", "sampling", "company", "leaving"]

SIZE = "Noise has the promised standard deviation"
REPEATS = "Within a step no draw of noise repeats"
MOVES = "A patient moves a sum by the clip norm"
CHANCE = "Everybody takes part by chance"
REUSE = "No step's noise was used before"
COMPANY = "A patient moves a sum by one row"
OWN_ROW = "A patient moves a stage's total by that patient's own row"
FRESH = "With nobody in it, each number of a total is fresh noise"
CUT = "A change of the weights is cut"
LATTICE = "Each part of every noised total holds"
SPLITS = "An internal validation measures other patients"
ROUNDS = "Every committed round follows from the totals"
_TRAIN, _PRIVACY, _SUMS = "tests/shared/train", "tests/shared/privacy", "tests/shared/sums"


@dataclass(frozen=True)
class Bug:
    """One way to be wrong.

    Attributes:
        family: of which CI tries one.
        plant: puts it into the path.
        test: file, or name, of tests of which one fails with it.
        refutes: beginnings of claims, each of which the audit refutes.
    """

    family: Family
    plant: Plant
    test: str
    refutes: tuple[str, ...]


BUGS: Mapping[str, Bug] = {
    "no noise": Bug("noise", noise.noise_times(0.0), f"{_TRAIN}/test_dp_optimizer.py", (SIZE, FRESH)),
    "half the noise": Bug(
        "noise", noise.noise_times(0.5), f"{_TRAIN}/test_dp_optimizer.py", (SIZE, FRESH)
    ),
    "noise times 0.8": Bug(
        "noise", noise.noise_times(0.8), f"{_TRAIN}/test_dp_optimizer.py", (SIZE, FRESH)
    ),
    "a tenth of the noise on the model's tensors": Bug(
        "noise", noise.tenth_on_the_model, f"{_TRAIN}/test_dp_optimizer.py", (FRESH,)
    ),
    "steps on the sum without its noise": Bug(
        "noise", noise.without_the_noise, f"{_TRAIN}/test_dp_optimizer.py", (FRESH,)
    ),
    "noise from a seed": Bug(
        "noise", noise.seeded_noise, "tests/client/answers/test_answer.py", (REUSE,)
    ),
    "one draw of noise for all steps of a round": Bug(
        "noise", noise.one_draw_for_all, f"{_PRIVACY}/test_noise.py", (REUSE, FRESH)
    ),
    "the second half of a draw repeats the first": Bug(
        "noise", noise.second_half_repeats, f"{_PRIVACY}/test_noise.py", (REPEATS, FRESH)
    ),
    "no noise in one column of a table": Bug(
        "noise", noise.column_without_noise, "tests/shared/stages/test_stage_sum.py", (FRESH,)
    ),
    "noise off the lattice": Bug(
        "noise", noise.off_the_lattice, f"{_TRAIN}/test_noised_sum.py", (LATTICE,)
    ),
    "no clipping": Bug(
        "clipping", rows.no_clipping, f"{_TRAIN}/test_patient_gradients.py", (MOVES, OWN_ROW)
    ),
    "clipping by exam": Bug(
        "clipping", rows.clip_by_exam, f"{_TRAIN}/test_canaries.py", (MOVES, OWN_ROW)
    ),
    "patients unclipped, canaries clipped": Bug(
        "clipping", rows.patients_unclipped, f"{_TRAIN}/test_patient_gradients.py", (OWN_ROW,)
    ),
    "clipping by tensor": Bug(
        "clipping", rows.clip_by_tensor, f"{_TRAIN}/test_local_steps.py", (OWN_ROW,)
    ),
    "the batch clipped instead of patients": Bug(
        "clipping", rows.clip_the_sum, f"{_TRAIN}/test_local_steps.py", (OWN_ROW,)
    ),
    "patients with two exams counted twice": Bug(
        "clipping", rows.two_exams_twice, f"{_TRAIN}/test_local_steps.py", (OWN_ROW,)
    ),
    "full batch booked as sampled": Bug(
        "sampling", rows.everybody_in_every_step, f"{_PRIVACY}/test_sampler.py", (MOVES,)
    ),
    "shuffling booked as Poisson": Bug(
        "sampling", rows.shuffled_batches, f"{_PRIVACY}/test_sampler.py", (CHANCE,)
    ),
    "twice the sample rate": Bug(
        "sampling", rows.twice_the_rate, f"{_TRAIN}/test_canaries.py", (MOVES,)
    ),
    "shape of the company": Bug(
        "company", rows.shape_of_the_company, f"{_TRAIN}/test_patient_gradients.py", (COMPANY,)
    ),
    "gradients centred on the batch": Bug(
        "company", rows.centred_on_the_batch, f"{_TRAIN}/test_patient_gradients.py", (COMPANY, OWN_ROW)
    ),
    "rows of a table weighted by the batch": Bug(
        "company", rows.rows_by_frequency, f"{_SUMS}/test_total.py", (OWN_ROW,)
    ),
    "divisor from the data": Bug(
        "company", patients.divisor_from_the_data, "tests/shared/stages/test_gradient.py", (OWN_ROW,)
    ),
    "validation on training patients": Bug(
        "leaving", patients.validated_on_training, "tests/client/answers/test_asked.py", (SPLITS,)
    ),
    "update not bounded": Bug(
        "leaving", patients.update_unbounded, f"{_TRAIN}/test_local_steps.py", (CUT,)
    ),
    "a site's total added twice": Bug(
        "leaving", patients.total_added_twice, "tests/shared/stages/test_gradient.py", (ROUNDS,)
    ),
}


@contextmanager
def planted(bug: str | None) -> Iterator[None]:
    """The named bug is in the path inside the ``with``; None leaves it correct."""
    with pytest.MonkeyPatch.context() as patch:
        if bug is not None:
            BUGS[bug].plant(patch)
        yield
