"""Asks a release about films of one exam: whole, with a place hidden, or by an encoder's tokens.

Imports release, model and scores. Legend: n pictures · v views · h w pixels · t tokens · c channels ·
k fields · f columns of films · o outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.contract.release import Release

if TYPE_CHECKING:
    from torch import Tensor

Masks = Sequence[NDArray[np.bool_] | None]
_AT_ONCE = 32  # pictures of an exam with a place hidden


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a release makes of one exam's films, its clinical values held.

    ``seen_by_model``: films [n,v,h,w] as the model takes them. ``outputs_of`` [n,o] and ``score_of``
    [n], of films [n,v,h,w]. ``outputs_of_tokens`` [n,o], of tokens [n,v,t,c] in the place of the own
    encoder's, with what else is said of the exam's films.
    """

    seen_by_model: Callable[[Tensor], Tensor]
    outputs_of: Callable[[Tensor], Tensor]
    score_of: Callable[[Tensor], Tensor]
    outputs_of_tokens: Callable[[Tensor], Tensor]


def ask_exam(
    release: Release, stack: Tensor, clinical: tuple[Tensor, Tensor], *, masks: Masks
) -> Asked:
    """What a release that reads films makes of an exam.

    Args:
        release: a verified release, with its encoders.
        stack: films of the exam [v,h,w].
        clinical: standardised fields and their mask, [1,1,k] each.
        masks: of each film [h,w], None where there is none.

    Raises:
        PlanError: the release's plan trains nothing.
    """
    import torch

    scored = make_scored(release)
    seen_by_model, columns_of = make_seen(release), make_columns(release)

    def outputs_of(views: Tensor) -> Tensor:
        parts = []
        for part in torch.split(views, _AT_ONCE):
            values, present = (each.expand(len(part), 1, -1) for each in clinical)
            parts.append(scored(seen_by_model(part), values, present, columns_of(part, masks)))
        return torch.cat(parts)

    def score_of(views: Tensor) -> Tensor:
        return torch.from_numpy(release.record.decision.score(outputs_of(views).numpy()))

    said_of_films = columns_of(stack[None], masks)

    def outputs_of_tokens(tokens: Tensor) -> Tensor:
        same = (each.expand(len(tokens), *each.shape[1:]) for each in (*clinical, said_of_films))
        return scored(tokens, *same)

    return Asked(
        seen_by_model=seen_by_model,
        outputs_of=outputs_of,
        score_of=score_of,
        outputs_of_tokens=outputs_of_tokens,
    )


class Scored(Protocol):
    """What scores exams with a release."""

    def __call__(
        self, tokens: Tensor, fields: Tensor, field_mask: Tensor, film_columns: Tensor | None = None, /
    ) -> Tensor:
        """Outputs [n,o] of tokens [n,v,t,c] or films [n,v,h,w], fields [n,1,k], field_mask [n,1,k], and
        what sources of films say of each [n,v,f]."""


def make_scored(release: Release) -> Scored:
    """What scores exams with a release, as validation does: in the task's unit, or a probability.

    Raises:
        PlanError: the release's plan trains nothing.
    """
    import torch

    from shared.stages.scores import scorer_of
    from shared.train.patients import PatientBatch

    plan = release.plan
    scorer = scorer_of(plan, plan.trained, release.encoder_file)

    def scored(
        tokens: Tensor, fields: Tensor, field_mask: Tensor, film_columns: Tensor | None = None, /
    ) -> Tensor:
        n = len(tokens)
        exams = PatientBatch(
            tokens=tokens,
            film_exam=torch.zeros(tokens.shape[:2], dtype=torch.int64),
            fields=fields,
            field_mask=field_mask,
            target=torch.zeros(n, 1),
            exam_mask=torch.ones(n, 1, dtype=torch.bool),
            film_columns=torch.empty(0) if film_columns is None else film_columns,
        )
        return torch.from_numpy(scorer.score(release.weights, exams).exams.outputs)

    return scored


def make_seen(release: Release) -> Callable[[Tensor], Tensor]:
    """Films [n,v,h,w] as the model takes them: as they are, or a frozen encoder's tokens [n,v,t,c]."""
    from shared.model.encoders import encode, load_encoder

    settings, file = release.plan.settings.encoder, release.encoder_file
    if settings.training != "frozen" or file is None:
        return lambda views: views
    if not release.plan.settings.reads_tokens:
        return lambda views: views.new_zeros(*views.shape[:2], 0, 0)
    encoder = load_encoder(settings, file)

    def tokens_of(views: Tensor) -> Tensor:
        n, v, h, w = views.shape
        tokens = encode(encoder, views.reshape(n * v, 1, h, w))
        return tokens.reshape(n, v, *tokens.shape[1:])

    return tokens_of


def make_columns(release: Release) -> Callable[[Tensor, Masks], Tensor]:
    """What sources of films say of films and their masks, as an intake's cohort has it.

    Shapes: [n,v,h,w] and v masks, the same of each n -> [n,v,f].
    """
    import torch

    from shared.train.film_columns import make_measure

    settings = release.plan.settings
    measures = [
        make_measure(settings, source, release.encoders.__getitem__)
        for source in settings.features.of_films
    ]

    def columns_of(views: Tensor, masks: Masks) -> Tensor:
        n, v, h, w = views.shape
        # A cohort keeps films as half precision.
        films = views.reshape(n * v, h, w).half().numpy()
        nothing = np.zeros((n * v, 0), dtype=np.float32)
        blocks = [nothing, *(measure(films, [*masks] * n) for measure in measures)]
        return torch.from_numpy(np.concatenate(blocks, axis=1)).reshape(n, v, -1)

    return columns_of
