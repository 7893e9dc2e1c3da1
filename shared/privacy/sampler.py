"""Who takes part in a step: each patient on their own with one public chance (Poisson sampling).

An accountant that books amplification by sampling supposes exactly this draw: independent between
patients and between steps, its size not fixed, empty steps included. Shuffled batches of equal size are
not it. A step has places for a public number of patients, so that its work tells nothing of who was
drawn; if ever more are drawn, it adds nobody, which the accountant counts. Chance comes from the
operating system's randomness, as the noise does: whoever could predict who takes part would undo the
amplification. Imports the noise's stream and the capacity of a draw.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shared.contract.capacity import binomial_quantile
from shared.errors import PrivacyError
from shared.privacy.events import STEP_OVERFLOW
from shared.privacy.noise import NoiseStream


class PoissonSampler:
    """Draws a step's patients, each with chance ``sample_rate`` to within 2^-53.

    Safe over ``fork``: a child process takes a fresh key.

    Args:
        sample_rate: q of the plan, in (0, 1]; 1 takes everybody.
        patients: places of whom a step is drawn from, at least as many as there are patients.

    Raises:
        PrivacyError: the sample rate is out of range.
    """

    def __init__(self, sample_rate: float, *, patients: int) -> None:
        if not 0 < sample_rate <= 1:
            raise PrivacyError("bad-sample-rate", f"sample rate must be in (0, 1], not {sample_rate}")
        self.sample_rate = sample_rate
        self.places = (
            patients
            if sample_rate == 1
            else binomial_quantile(patients, sample_rate, overflow=STEP_OVERFLOW)
        )
        self._stream = NoiseStream()

    def draw_rows(self, n: int) -> Tensor:
        """Rows of the patients of one step, ascending, int64 [≤ places]; may be empty.

        Args:
            n: patients at hand.
        """
        # Uniforms lie on the midpoints of 2^52 equal parts, so u < q has chance q up to half a part.
        rows = torch.nonzero(self._stream.uniforms(n) < self.sample_rate)[:, 0]
        return rows if len(rows) <= self.places else rows[:0]
