"""How image tokens and clinical tokens meet: five heads with one signature, and classes by one score.

``forward(tokens [b,s,t,c], film_exam [b,s], fields [b,u,k], field_mask [b,u,k]) -> [b,u,o]``: films
of a patient lie in slots, each with the number of its exam, −1 for an empty slot, so that the work is
that of the films and not of exams times views. No batch statistics, dropout or in-place writes, so
that one patient's gradient depends on that patient alone; the axis b may be left out. The last layer
is zeroed by ``shared.model.build``.
Legend: b patients · s film slots · t tokens of a film · c channels · u exams · k fields · d width ·
o outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

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
    """One layer of cross-attention, in both directions or one, with a learned gate per stream.

    I' = LN(I + MHA(I ← M)), M' = LN(M + MHA(M ← I)); I ← g·I' + (1 − g)·I, and M alike.

    Source: XAttn-BMD (arXiv 2511.14604), without the feed-forward part.
    """

    def __init__(self, width: int, heads: int, *, image_reads: bool, clinical_reads: bool) -> None:
        super().__init__()
        self.image_reads, self.clinical_reads = image_reads, clinical_reads
        # in this order, which is that of the weights of a release
        if image_reads:
            self.image_mix = Mix()
        if clinical_reads:
            self.clinical_mix = Mix()
        if image_reads:
            self.image_from_clinical = Attention(width, heads)
        if clinical_reads:
            self.clinical_from_image = Attention(width, heads)
        if image_reads:
            self.image_norm = nn.LayerNorm(width)
        if clinical_reads:
            self.clinical_norm = nn.LayerNorm(width)

    def forward(self, image: Tensor, clinical: Tensor, readable: Readable) -> tuple[Tensor, Tensor]:
        """Shapes: image [b,s,t,d], clinical [b,u,k,d]."""
        read_image, read_clinical = image, clinical
        if self.image_reads:
            read = self.image_from_clinical(image, _by_film(clinical, readable), readable.fields)
            read_image = self.image_mix(self.image_norm(image + read), image)
        if self.clinical_reads:
            asked, films = clinical.flatten(-3, -2), image.flatten(-3, -2)  # [b,u·k,d], [b,s·t,d]
            read = self.clinical_from_image(asked, films, readable.films).reshape(clinical.shape)
            read_clinical = self.clinical_mix(self.clinical_norm(clinical + read), clinical)
        return read_image, read_clinical

    def field_weights(self, image: Tensor, clinical: Tensor, readable: Readable) -> Tensor:
        """How much each image token attends to each field, mean over heads; where the image reads.

        Shapes: image [b,s,t,d], clinical [b,u,k,d] -> [b,s,t,k].
        """
        asked = _by_film(clinical, readable)
        return self.image_from_clinical.weights(image, asked, readable.fields).mean(dim=-3)


def _by_film(clinical: Tensor, readable: Readable) -> Tensor:
    """The clinical tokens of each slot's exam: [b,u,k,d] -> [b,s,k,d]."""
    of_film: Tensor = readable.to_film @ clinical.flatten(-2)
    return of_film.reshape(*readable.to_film.shape[:-1], *clinical.shape[-2:])


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
        image_reads: bool = True,
        clinical_reads: bool = True,
        head_hidden: int = 0,
    ) -> None:
        super().__init__()
        self.project = nn.Linear(channels, width)
        self.register_buffer("positions", grid_positions(grid, width), persistent=False)
        self.clinical = ClinicalTokens(fields, width)
        self.image_reads = image_reads
        self.layers = nn.ModuleList(
            [
                CrossLayer(width, heads, image_reads=image_reads, clinical_reads=clinical_reads)
                for _ in range(layers)
            ]
        )
        self.inner = nn.Linear(4 * width, head_hidden) if head_hidden else None
        self.head = nn.Linear(head_hidden or 4 * width, outputs)

    def forward(self, tokens: Tensor, film_exam: Tensor, fields: Tensor, field_mask: Tensor) -> Tensor:
        """Shapes: see the module's charter."""
        of_exam = films_of_exams(film_exam, fields.shape[-2])
        *_, last = streams = list(self._streams(tokens, of_exam, fields, field_mask))
        pooled = [
            part
            for image, clinical, _ in (streams[0], last)
            for part in (exam_means(image, of_exam), clinical.mean(dim=-2))
        ]
        return _read_out(torch.cat(pooled, dim=-1), self.inner, self.head)

    def field_attention(
        self, tokens: Tensor, film_exam: Tensor, fields: Tensor, field_mask: Tensor
    ) -> Tensor:
        """How much an exam's films attend to each field: mean over image tokens, heads and layers.

        Of an exam with a film and a field the weights add up to 1; all are 0 where the image does not
        read. Shapes: as ``forward`` -> [b,u,k].
        """
        of_exam = films_of_exams(film_exam, fields.shape[-2])
        found = torch.zeros_like(fields)
        if not self.image_reads:
            return found
        streams = self._streams(tokens, of_exam, fields, field_mask)
        for layer, stream in zip(self.layers, streams, strict=False):  # one more: what the last gives
            weights = cast(CrossLayer, layer).field_weights(*stream)  # [b,s,t,k]
            found = found + exam_means(weights, of_exam)
        return found / len(self.layers)

    def _streams(
        self, tokens: Tensor, of_exam: Tensor, fields: Tensor, field_mask: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Readable]]:
        """Image tokens [b,s,t,d] and clinical tokens [b,u,k,d] before each layer and after the last."""
        image = self.project(tokens) + self.positions
        clinical = self.clinical(fields, field_mask)
        readable = Readable.within(of_exam, field_mask, tokens.shape[-2], image.dtype)
        yield image, clinical, readable
        for layer in self.layers:
            image, clinical = layer(image, clinical, readable)
            yield image, clinical, readable


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
        return _read_out(torch.cat(parts, dim=-1), self.inner, self.head)


def _read_out(pooled: Tensor, inner: nn.Linear | None, head: nn.Linear) -> Tensor:
    """Outputs of a head with one hidden layer, or of a linear one: [b,u,n] -> [b,u,o]."""
    output: Tensor = head(pooled if inner is None else torch.nn.functional.gelu(inner(pooled)))
    return output


class OneScore(nn.Module):
    """Ordered classes by one score: the scores of classes are k·s + b_k, k = 0, 1, …

    So s moves the log odds of each class against the one before it alike, and no order of the b is
    needed. A fusion with one output gives s. Only the b learn here.

    Source: Agresti 2010, Analysis of Ordinal Categorical Data, section 4.1 (adjacent categories).
    """

    def __init__(self, fusion: nn.Module, n_classes: int) -> None:
        super().__init__()
        self.fusion = fusion
        self.classes = nn.Linear(1, n_classes)
        with torch.no_grad():
            self.classes.weight.copy_(torch.arange(n_classes)[:, None])
            self.classes.bias.zero_()
        self.classes.weight.requires_grad_(False)

    def forward(self, tokens: Tensor, film_exam: Tensor, fields: Tensor, field_mask: Tensor) -> Tensor:
        """Shapes: see the module's charter."""
        output: Tensor = self.classes(self.fusion(tokens, film_exam, fields, field_mask))
        return output
