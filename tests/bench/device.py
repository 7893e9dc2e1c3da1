"""What a private step costs beside an ordinary one, and how many films an encoder takes, on a device.

``python tests/bench/device.py [--device cuda] [--patients 2000] [--films 256]`` from the repository's
root; ``--page LINES`` writes docs/devices.md from the lines that it printed. Weights are random (time
does not depend on them), kernels are those of a real round (``repeatable``), private and ordinary steps
are taken in turns, and the fastest of each counts. Before anything is timed, the sum is taken twice and
in reversed order, and it is said whether these are the same integers. An encoder takes films by the
kernels of a round, and by those that torch takes of itself.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/practice"), str(ROOT / "tests/bench")]

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from shared.contract.settings import Settings
    from shared.train.patients import PatientBatch

HEADS = ("linear", "concatenation", "cross_attention")
EXTRACTED = ("dinov2_s", "resnet34", "densenet121", "vgg19")
CLIP_NORM, REPEATS = 0.5, 7
PAGE = ROOT / "docs" / "devices.md"
TEXT = """# On a GPU

Measured on one {device} with torch {torch} by `make bench-device`; `tests/bench/device.py --page` wrote
this page from docs/data/devices.jsonl.

A step of training, private (one clipped gradient for each patient) and ordinary, on the same patients
in the same chunks. The last column: is the sum the same integers twice, and in reversed order?

| what learns | patients | chunk | private, ms | ordinary, ms | ratio | peak, MiB | same sum |
|---|---|---|---|---|---|---|---|
{steps}

Films a second by a frozen encoder, once for each film. By the kernels of a round, a film's tokens do
not depend on the other films; cuDNN is off there. The usual kernels of torch are shown beside them, and
used nowhere.

| encoder | as in a round | usual kernels |
|---|---|---|
{films}
"""


def main() -> None:
    """Measure all of it, and print one JSON line for each."""
    import torch

    from shared.train.device import choose_device, repeatable

    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    options.add_argument("--patients", type=int, default=2000)
    options.add_argument("--films", type=int, default=256)
    options.add_argument("--page", type=Path)
    chosen = options.parse_args()
    if chosen.page:
        PAGE.write_text(page([json.loads(line) for line in chosen.page.read_text().splitlines()]))
        return
    device = choose_device(chosen.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    _say({"device": name, "torch": torch.__version__})
    with tempfile.TemporaryDirectory() as folder:
        for head in HEADS:
            with repeatable():
                _say({"step": head, **head_step(head, chosen.patients, device)})
        for kind in ("lora", "full"):
            with repeatable():
                _say({"step": kind, **film_step(kind, chosen.films, device, Path(folder))})
        for encoder in EXTRACTED:
            with repeatable():
                strict = extraction(encoder, chosen.films, device)
            _say(
                {
                    "extraction": encoder,
                    "repeatable": strict,
                    "usual": extraction(encoder, chosen.films, device),
                }
            )


def page(lines: list[dict[str, Any]]) -> str:
    """The page of one device's lines."""
    device = lines[0]
    steps = [line for line in lines if "step" in line]
    taken = [line for line in lines if "extraction" in line]
    rows = [
        f"| {line['step']} | {line['patients']} | {line['chunk']} | {line['private_ms']} "
        f"| {line['ordinary_ms']} | {line['ratio']} | {line['peak_mib']} "
        f"| {'yes' if line['same_twice'] and line['same_reversed'] else 'NO'} |"
        for line in steps
    ]
    films = [f"| {line['extraction']} | {line['repeatable']} | {line['usual']} |" for line in taken]
    return TEXT.format(**device, steps="\n".join(rows), films="\n".join(films))


def head_step(head: str, n: int, device: torch.device) -> dict[str, object]:
    """A head of a fusion on cached tokens."""
    from dp_step import draw_flat

    from server.federation.compose import compose_settings
    from shared.model.build import build_model
    from shared.train.patients import build_patients
    from shared.train.update import patients_at_once

    settings = compose_settings([f"fusion={head}"])
    kinds = {i: len(f.categories) for i, f in enumerate(settings.cohort.fields) if f.kind == "category"}
    batch = build_patients(
        **draw_flat(n, len(settings.cohort.fields), kinds),
        max_views=settings.privacy.max_views,
        max_exams=settings.privacy.max_exams,
    )
    model = _random(build_model(settings, generator_seed=1))
    chunk = patients_at_once(settings, device)
    return _both(model, batch, settings, device, chunk=chunk)


def film_step(kind: str, n: int, device: torch.device, folder: Path) -> dict[str, object]:
    """An encoder that learns, of real size: low-rank changes of DINOv2-S, or a whole ResNet."""
    import torch

    from server.federation.compose import compose_settings
    from shared.model import encoders
    from shared.model.build import build_model
    from shared.train.patients import PatientBatch
    from shared.train.update import patients_at_once

    overrides, path = ["experiment=resnet_gn"], None
    if kind == "lora":
        path = folder / "dinov2_s.safetensors"
        network = encoders.make_encoder("dinov2_s", grid=1).network
        draw = torch.Generator().manual_seed(0)
        state = {
            k: 0.05 * torch.randn(v.shape, generator=draw) for k, v in network.state_dict().items()
        }
        films = torch.rand(2, 1, 128, 128, generator=draw)
        sha256 = encoders.pack_encoder("dinov2_s", state, films, path, recipe={})
        overrides = [
            "experiment=dinov2_s_lora",
            f"encoder.weights={path}",
            f"encoder.sha256={sha256}",
        ]
    settings = compose_settings(overrides)
    model = _random(build_model(settings, 3, path))
    draw, k = torch.Generator().manual_seed(5), len(settings.cohort.fields)
    pixels = settings.cohort.image_pixels
    batch = PatientBatch(
        tokens=torch.rand(n, 1, pixels, pixels, generator=draw),
        film_exam=torch.zeros(n, 1, dtype=torch.int64),
        fields=torch.zeros(n, 1, k),
        field_mask=torch.ones(n, 1, k, dtype=torch.bool),
        target=torch.randn(n, 1, generator=draw),
        exam_mask=torch.ones(n, 1, dtype=torch.bool),
    )
    return _both(model, batch, settings, device, chunk=patients_at_once(settings, device))


def extraction(name: str, n: int, device: torch.device) -> int:
    """Films a second from host to host by a frozen encoder."""
    import torch

    from shared.model.architectures import ARCHITECTURES
    from shared.model.encoders import encode, make_encoder

    encoder = make_encoder(name, grid=ARCHITECTURES[name].grid)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.copy_(0.05 * torch.randn(weight.shape, generator=draw))
    films = torch.rand(n, 1, 128, 128, generator=draw)
    seconds = _fastest({"encode": functools.partial(encode, encoder.to(device), films)}, device)
    return round(n / seconds["encode"])


def _random(model: nn.Module) -> nn.Module:
    import torch

    from shared.model.weights import trainable

    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for _, weight in trainable(model):
            weight.copy_(0.1 * torch.randn(weight.shape, generator=draw))
    return model


def _both(
    model: nn.Module, batch: PatientBatch, settings: Settings, device: torch.device, *, chunk: int
) -> dict[str, object]:
    """Milliseconds of both steps, after the sum was found the same twice and in reversed order."""
    import torch

    from shared.model.weights import trainable
    from shared.train.loss import make_patient_loss
    from shared.train.patient_gradients import clipped_sum
    from shared.train.patients import make_batches

    model, batch, loss = model.to(device), batch.to(device), make_patient_loss(settings.task)
    weights = [weight for _, weight in trainable(model)]

    def private(patients: PatientBatch = batch) -> Tensor:
        return clipped_sum(model, patients, loss=loss, clip_norm=CLIP_NORM, chunk=chunk)

    def ordinary() -> Tensor:
        total = torch.zeros(sum(weight.numel() for weight in weights), device=device)
        for part in make_batches(batch, chunk):
            value = loss(model, part.filled(chunk).with_films())[: len(part)].sum()
            total += torch.cat([g.flatten() for g in torch.autograd.grad(value, weights)])
        return total

    first = private()
    same = bool(torch.equal(first, private()))
    same_reversed = bool(torch.equal(first, private(batch.select(list(range(len(batch)))[::-1]))))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = _fastest({"private": private, "ordinary": ordinary}, device)
    peak = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else None
    return {
        "patients": len(batch),
        "chunk": chunk,
        "weights": int(first.numel()),
        "same_twice": same,
        "same_reversed": same_reversed,
        "private_ms": round(1e3 * seconds["private"], 2),
        "ordinary_ms": round(1e3 * seconds["ordinary"], 2),
        "ratio": round(seconds["private"] / seconds["ordinary"], 2),
        "peak_mib": peak if peak is None else round(peak),
    }


def _fastest(work: Mapping[str, Callable[[], object]], device: torch.device) -> dict[str, float]:
    import torch

    best = dict.fromkeys(work, float("inf"))
    for step in work.values():
        step()
    for _ in range(REPEATS):
        for name, step in work.items():
            if device.type == "cuda":
                torch.cuda.synchronize()
            began = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            best[name] = min(best[name], time.perf_counter() - began)
    return best


def _say(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
