"""What a gradient costs from cached activations, beside the same gradient from the film.

``python tests/bench/cached_blocks.py`` from the repository's root. DINOv2 ViT-S/14 at its real size
with random weights (time does not depend on them), low-rank layers in its last blocks, one film at a
time on one thread. Both are taken in turns; processor time, the fastest of many.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]
REPEATS, TRAINED = 5, (1, 2, 4)


def main() -> None:
    """Measure and say."""
    import torch

    from shared.model.encoders import make_encoder
    from shared.model.lora import add_low_rank
    from shared.model.partial import activate, finish, transformer_of

    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(0)
    film = torch.rand(1, 1, 128, 128, generator=draw)
    for trained in TRAINED:
        encoder = make_encoder("dinov2_s", grid=16)
        network = transformer_of(encoder)
        blocks = len(network.blocks) - trained
        made = activate(encoder, film, blocks=blocks).clone()
        add_low_rank(network.blocks[blocks:], rank=4, alpha=4.0, generator=draw)
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        best = {"film": float("inf"), "cache": float("inf")}
        for _ in range(REPEATS):
            for way in best:
                began = time.process_time()
                tokens = encoder(film) if way == "film" else finish(encoder, made, blocks=blocks)
                torch.autograd.grad(tokens.square().sum(), weights)
                best[way] = min(best[way], time.process_time() - began)
        sys.stdout.write(
            f"last {trained} of {blocks + trained} blocks: film {1e3 * best['film']:.0f} ms, "
            f"cache {1e3 * best['cache']:.0f} ms, {best['film'] / best['cache']:.1f} x\n"
        )


if __name__ == "__main__":
    main()
