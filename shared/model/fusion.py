"""How image tokens and clinical tokens meet: five heads with one signature.

``forward(tokens [b,s,t,c], film_exam [b,s], fields [b,u,k], field_mask [b,u,k]) -> [b,u,o]``: films
of a patient lie in slots, each with the number of its exam, −1 for an empty slot, so that the work is
that of the films and not of exams times views. No batch statistics, dropout or in-place writes, so
that one patient's gradient depends on that patient alone; the axis b may be left out. The last layer
is zeroed by ``shared.model.build``.
Legend: b patients · s film slots · t tokens of a film · c channels · u exams · k fields · d width ·
o outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shared.exam.schema import ClinicalField
from shared.model.attention import Attention, KeyMask
from shared.model.clinical_tokens import ClinicalDesign, ClinicalTokens


def films_of_exams(film_exam: Tensor, n_exams: int) -> Tensor:
    """Which slots hold a film of which exam: [b,s] -> [b,u,s], True = does."""
    exams = torch.arange(n_exams, device=film_exam.device)
    return film_exam.unsqueeze(-2) == exams.unsqueeze(-1)


def exam_means(tokens: Tensor, of_exam: Tensor) -> Tensor:
    """Mean over all tokens of an exam's films; zeros where it has none.

    Shapes: tokens [b,s,t,d], of_exam [b,u,s] -> [b,u,d].
    """
    weight = of_exam.to(tokens.dtype)
    total = weight @ tokens.mean(dim=-2)
    return total / weight.sum(dim=-1, keepdim=True).clamp(min=1.0)


def grid_positions(grid: int, width: int) -> Tensor:
    """Fixed sine and cosine positions of a grid's cells, rows first, [grid·grid, width].

    Source: Vaswani et al. 2017, section 3.5, one half of the width for each of the two axes.
    """
    n_frequencies = -(-width // 4)
    frequency = 1.0 / 100.0 ** (torch.arange(n_frequencies) / n_frequencies)
    steps = torch.arange(grid).to(torch.float32)
    angles = steps[:, None] * frequency[None, :]  # [grid, width/4]
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)  # [grid, width/2]
    rows = axis[:, None, :].expand(grid, grid, -1)
    columns = axis[None, :, :].expand(grid, grid, -1)
    return torch.cat([rows, columns], dim=2).reshape(grid * grid, -1)[:, :width].contiguous()


@dataclass(frozen=True)
class Readable:
    """Who may read what in a patient: an exam's tokens are read within that exam alone.

    Shapes:
        to_film [b,s,u], 1 where a slot holds a film of that exam, else 0; fields: of keys [b,s,k], the
        present fields of a slot's exam; films: of queries [b,u·k] and keys [b,s·t], the films of a
        field's exam.
    """

    to_film: Tensor
    fields: KeyMask
    films: KeyMask

    @staticmethod
    def within(of_exam: Tensor, field_mask: Tensor, n_tokens: int, dtype: torch.dtype) -> Readable:
        """From of_exam [b,u,s] and field_mask [b,u,k]."""
        to_film = of_exam.transpose(-1, -2).to(dtype)  # [b,s,u]
        fields = (to_film @ field_mask.to(dtype) > 0.5).unsqueeze(-2)  # [b,s,1,k]
        films = of_exam.unsqueeze(-1).expand(*of_exam.shape, n_tokens).flatten(-2)  # [b,u,s·t]
        by_field = films.unsqueeze(-2).expand(*field_mask.shape, films.shape[-1]).flatten(-3, -2)
        return Readable(to_film, KeyMask.of(fields, dtype), KeyMask.of(by_field, dtype))


class Mix(nn.Module):
    """g·new + (1 − g)·old with one learned gate g = sigmoid(logit); it starts as an even mix."""

    def __init__(self) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(1))

    def forward(self, new: Tensor, old: Tensor) -> Tensor:
        """Shapes: two of the same -> that shape."""
        return torch.lerp(old, new, torch.sigmoid(self.logit))


class CrossLayer(nn.Module):
    """One layer of bidirectional cross-attention with a learned gate per stream.

    I' = LN(I + MHA(I ← M)), M' = LN(M + MHA(M ← I)); I ← g·I' + (1 − g)·I, and M alike.

    Source: XAttn-BMD (arXiv 2511.14604), without the feed-forward part.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.image_mix = Mix()
        self.clinical_mix = Mix()
        self.image_from_clinical = Attention(width, heads)
        self.clinical_from_image = Attention(width, heads)
        self.image_norm = nn.LayerNorm(width)
        self.clinical_norm = nn.LayerNorm(width)

    def forward(self, image: Tensor, clinical: Tensor, readable: Readable) -> tuple[Tensor, Tensor]:
        """Shapes: image [b,s,t,d], clinical [b,u,k,d]."""
        of_film = (readable.to_film @ clinical.flatten(-2)).reshape(
            *readable.to_film.shape[:-1], *clinical.shape[-2:]
        )  # [b,s,k,d]
        read_clinical = self.image_from_clinical(image, of_film, readable.fields)
        asked, films = clinical.flatten(-3, -2), image.flatten(-3, -2)  # [b,u·k,d], [b,s·t,d]
        read_image = self.clinical_from_image(asked, films, readable.films).reshape(clinical.shape)
        image_new = self.image_norm(image + read_clinical)
        clinical_new = self.clinical_norm(clinical + read_image)
        return self.image_mix(image_new, image), self.clinical_mix(clinical_new, clinical)


class CrossAttentionFusion(nn.Module):
    """Image tokens and clinical tokens read each other, layer by layer, then are pooled.

    The head sees the pooled streams both raw and enhanced: [I, I_enhanced, M, M_enhanced].

    Source: XAttn-BMD (arXiv 2511.14604).
    """

    positions: Tensor

    def __init__(
        self,
        fields: Sequence[ClinicalField],
        *,
        channels: int,
        grid: int,
        width: int,
        layers: int,
        heads: int,
        outputs: int,
    ) -> None:
        super().__init__()
        self.project = nn.Linear(channels, width)
        self.register_buffer("positions", grid_positions(grid, width), persistent=False)
        self.clinical = ClinicalTokens(fields, width)
        self.layers = nn.ModuleList([CrossLayer(width, heads) for _ in range(layers)])
        self.head = nn.Linear(4 * width, outputs)

    def forward(self, tokens: Tensor, film_exam: Tensor, fields: Tensor, field_mask: Tensor) -> Tensor:
        """Shapes: see the module's charter."""
        image = self.project(tokens) + self.positions  # [b,s,t,d]
        clinical = self.clinical(fields, field_mask)  # [b,u,k,d]
        of_exam = films_of_exams(film_exam, fields.shape[-2])
        readable = Readable.within(of_exam, field_mask, tokens.shape[-2], image.dtype)
        raw = [exam_means(image, of_exam), clinical.mean(dim=-2)]
        for layer in self.layers:
            image, clinical = layer(image, clinical, readable)
        enhanced = [exam_means(image, of_exam), clinical.mean(dim=-2)]
        output: Tensor = self.head(torch.cat([*raw, *enhanced], dim=-1))
        return output


class PooledFusion(nn.Module):
    """Mean image token beside the clinical vector, then one hidden layer or none.

    ``channels`` 0 leaves the image out, no ``fields`` leave the clinical part out, ``hidden`` 0
    makes it linear: the baselines that every fusion is reported against.
    """

    def __init__(
        self, fields: Sequence[ClinicalField], *, channels: int, hidden: int, outputs: int
    ) -> None:
        super().__init__()
        self.channels = channels
        self.design = ClinicalDesign(fields) if fields else None
        inputs = channels + (self.design.n_vector if self.design is not None else 0)
        self.inner = nn.Linear(inputs, hidden) if hidden else None
        self.head = nn.Linear(hidden or inputs, outputs)

    def forward(self, tokens: Tensor, film_exam: Tensor, fields: Tensor, field_mask: Tensor) -> Tensor:
        """Shapes: see the module's charter."""
        parts = []
        if self.channels:
            parts.append(exam_means(tokens, films_of_exams(film_exam, fields.shape[-2])))
        if self.design is not None:
            parts.append(self.design.vector(fields, field_mask))
        joined = torch.cat(parts, dim=-1)
        if self.inner is not None:
            joined = torch.nn.functional.gelu(self.inner(joined))
        output: Tensor = self.head(joined)
        return output
