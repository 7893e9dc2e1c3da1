"""From logits of every interval to the log-likelihood of each class of a time to event.

The last, fixed step of a model that predicts a time to event; what it is put behind stays as it is, so
every fusion has it. Imports the label only.
Legend: b patients · u exams · k intervals · r causes · q classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shared.exam.time_to_event import TimeToEventLabel


class Hazards(nn.Module):
    """A fusion with r·k outputs, read as the log-likelihoods of q classes.

    In each interval one softmax over nothing, the event and a competing event, whose logits are 0 and
    the fusion's output beside a public start. A class that ends is likely as its cause there and
    nothing before; one that is free for some intervals as nothing in any of them.
    """

    exposures: Tensor

    def __init__(self, fusion: nn.Module, label: TimeToEventLabel) -> None:
        super().__init__()
        self.fusion = fusion
        self.start = label.start_logit()
        exposures = torch.from_numpy(label.exposures()).float().flatten(1).T.contiguous()
        self.register_buffer("exposures", exposures, persistent=False)  # [k·(1+r), q]
        self.shape = (label.n_intervals, len(label.causes))

    def forward(self, tokens: Tensor, film_exam: Tensor, fields: Tensor, field_mask: Tensor) -> Tensor:
        """Shapes: as of a fusion -> [b,u,q]."""
        logits = self.fusion(tokens, film_exam, fields, field_mask).unflatten(-1, self.shape)
        logits = nn.functional.pad(logits + self.start, (1, 0))  # [b,u,k,1+r]
        likelihoods: Tensor = logits.log_softmax(dim=-1).flatten(-2) @ self.exposures
        return likelihoods
