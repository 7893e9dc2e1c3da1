"""Which clinical fields the films of one exam attend to, where a release has attention over fields.

The mean over image tokens, heads and layers; it says where the model looked, not what a field is worth
(a measure of importance says that). Imports release and model.
Legend: v views · t tokens · c channels · h w pixels · k fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from shared.contract.release import Release
from shared.contract.stages import GradientStage

if TYPE_CHECKING:
    from torch import Tensor


def attend_fields(
    release: Release, views: Tensor, fields: Tensor, field_mask: Tensor
) -> Mapping[str, float]:
    """Share of attention by field, largest first; adds up to 1, or empty where no film attends.

    Args:
        release: a verified release, with its encoder.
        views: of one exam, as the model takes them: tokens [1,v,t,c], or films [1,v,h,w].
        fields: standardised [1,1,k].
        field_mask: True = present [1,1,k].
    """
    import torch

    from shared.model.build import build_model
    from shared.model.end_to_end import EndToEnd
    from shared.model.fusion import CrossAttentionFusion
    from shared.model.weights import load_flat

    settings = release.plan.settings
    if not isinstance(release.plan.trained, GradientStage) or settings.fusion.name != "cross_attention":
        return {}
    model = build_model(
        settings, generator_seed=settings.seed, encoder_file=release.encoder_file
    ).eval()
    load_flat(model, release.weights)
    [fusion] = [part for part in model.modules() if isinstance(part, CrossAttentionFusion)]
    film_exam = torch.zeros(views.shape[:2], dtype=torch.int64)
    with torch.no_grad():
        tokens = model.tokens_of(views, film_exam) if isinstance(model, EndToEnd) else views
        found = fusion.field_attention(tokens, film_exam, fields, field_mask)[0, 0]
    shares = zip((field.name for field in settings.cohort.fields), found.tolist(), strict=True)
    return {name: share for name, share in sorted(shares, key=lambda each: -each[1]) if share > 0}
