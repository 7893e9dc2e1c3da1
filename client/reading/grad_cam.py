"""Grad-CAM: where the last map of a convolutional encoder speaks for the endpoint.

The map's channels are weighted by the gradient of the endpoint's score, averaged over its places.
Tokens are means and a public scale of the map, so that average is the score's change when a channel
rises everywhere; a learner of tables, which has no gradient, is asked for that change. Imports release
and model.
Legend: v views · c channels · g map's edge · t tokens · h w pixels · o outputs · n exams.

Source: Selvaraju et al. 2017 (ICCV), equations 1 and 2; D-128.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shared.contract.decision import Decision
from shared.contract.release import Release
from shared.contract.stages import GradientStage
from shared.errors import IntakeError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from shared.model.encoders import Encoder

Image = NDArray[np.float32]
_STEP = 1e-2  # of a token, whose channels have a public SD of about 3/√c
_SAME = 0.05  # steps of one and two lengths agree to this share of the largest slope where there is one


def grad_cam(
    release: Release,
    stack: Tensor,
    outputs_of: Callable[[Tensor], Tensor],
    clinical: tuple[Tensor, Tensor],
) -> tuple[Image, ...]:
    """A map [h,w] of each film: of the exam's strongest place, from 0 to 1; 0: nothing speaks for it.

    Args:
        release: a verified release, with its encoder.
        stack: films of the exam [v,h,w].
        outputs_of: what the release makes of tokens [n,v,t,c] with this exam's values [n,o].
        clinical: standardised fields and their mask, [1,1,k] each.

    Raises:
        IntakeError: ``no-gradient-map``: the encoder is a transformer, no token is read, or the score
            is flat or moves by steps.
    """
    import torch
    from torch.nn.functional import interpolate

    from shared.model.end_to_end import EndToEnd

    decision = release.record.decision
    model = _trained(release)
    encoder = _encoder(release, model)
    with torch.no_grad():
        mapped = torch.cat([encoder.map_films(film[None, None]) for film in stack])  # [v,c,g,g]
        tokens = encoder.standardise(mapped)  # [v,t,c]
    # a rise of each channel in all tokens of a film [v,c]
    if model is not None:
        head = model.head if isinstance(model, EndToEnd) else model
        slopes = _gradient(head, tokens, clinical, decision)
    else:
        slopes = _differences(outputs_of, tokens, decision)
    if not slopes.any():
        raise _refusal("the score does not change with the encoder's map")
    weights = slopes * encoder.scale / encoder.channel_sd / mapped[0, 0].numel()
    speaks = torch.relu((weights[:, :, None, None] * mapped).sum(dim=1))  # [v,g,g]
    drawn = interpolate(speaks[:, None], size=stack.shape[1:], mode="bilinear", align_corners=False)
    strongest = drawn.max().clamp(min=torch.finfo(drawn.dtype).tiny)
    return tuple((drawn[:, 0] / strongest).numpy().astype(np.float32))


def endpoint_score(logs: Tensor, decision: Decision) -> Tensor:
    """What speaks for the endpoint [n].

    The value, or its negative where a low one is positive; of classes the log score above the mean of
    all, since what lifts all alike changes no probability; of a time to event the risk's log odds.

    Shapes: predicted values [n,1], or logits or log-probabilities of classes [n,o].
    """
    if decision.is_regression:
        return -logs[:, 0] if decision.is_low_positive else logs[:, 0]
    if decision.counts_as:
        places = [place for place, one in enumerate(decision.counts_as) if one == decision.endpoint]
        risk: Tensor = logs[:, places].logsumexp(dim=1).exp().clamp(1e-12, 1 - 1e-12)
        return risk.logit()
    return logs[:, decision.endpoint] - logs.mean(dim=1)


def _gradient(
    head: nn.Module, tokens: Tensor, clinical: tuple[Tensor, Tensor], decision: Decision
) -> Tensor:
    """Gradient of the score by tokens [v,t,c], summed over a film's tokens [v,c]."""
    import torch

    leaf = tokens[None].clone().requires_grad_(True)
    logs = head(leaf, torch.zeros(leaf.shape[:2], dtype=torch.int64), *clinical)[:, 0]  # [1,o]
    [gradient] = torch.autograd.grad(endpoint_score(logs, decision).sum(), leaf)
    return gradient[0].sum(dim=1)


def _differences(outputs_of: Callable[[Tensor], Tensor], tokens: Tensor, decision: Decision) -> Tensor:
    """The same of a learner of tables, by steps to either side.

    Raises:
        IntakeError: ``no-gradient-map``: two lengths of steps find two slopes, as of a tree.
    """
    import torch

    def slopes(length: float) -> Tensor:
        found = []
        for view in range(len(tokens)):
            moved = []
            for sign in (1, -1):
                rises = sign * length * torch.eye(tokens.shape[-1])[:, None]  # [c,1,c]
                exams = tokens.expand(len(rises), *tokens.shape).clone()  # [n=c,v,t,c]
                exams[:, view] += rises
                outputs = outputs_of(exams)
                logs = outputs if decision.is_regression else outputs.clamp(min=1e-300).log()
                moved.append(endpoint_score(logs, decision))
            found.append((moved[0] - moved[1]) / (2 * length))
        return torch.stack(found)

    near, far = slopes(_STEP), slopes(2 * _STEP)
    if bool((near - far).abs().max() > _SAME * near.abs().max()):
        raise _refusal("the learner's score moves by steps")
    return near.float()


def _trained(release: Release) -> nn.Module | None:
    """The model with the released weights; None of a learner of tables."""
    from shared.model.build import build_model
    from shared.model.weights import load_flat

    if not isinstance(release.plan.trained, GradientStage):
        return None
    settings = release.plan.settings
    model = build_model(settings, generator_seed=settings.seed, encoder_file=release.encoder_file)
    load_flat(model.eval(), release.weights)
    return model


def _encoder(release: Release, model: nn.Module | None) -> Encoder:
    """The encoder as it was trained, or as its file has it; never a transformer's."""
    from shared.model.encoders import load_encoder
    from shared.model.end_to_end import EndToEnd
    from shared.model.vision_transformer import VisionTransformer

    settings, file = release.plan.settings, release.encoder_file
    if isinstance(model, EndToEnd):
        encoder = model.encoder
    elif file is not None and settings.reads_tokens:
        encoder = load_encoder(settings.encoder, file)
    else:
        raise _refusal("this release reads no encoder's map")
    if isinstance(encoder.network, VisionTransformer):
        raise _refusal(f"{settings.encoder.name} is a transformer: each place has seen the whole film")
    return encoder


def _refusal(fact: str) -> IntakeError:
    return IntakeError(
        "no-gradient-map",
        f"Grad-CAM needs a convolutional encoder and a score with a slope: {fact}",
        hint="use --map occlusion or --map lime, which ask the score alone",
    )
