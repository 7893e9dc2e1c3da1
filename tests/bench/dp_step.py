"""Time of one step with one clipped gradient per patient, beside an ordinary step on the same patients.

``python tests/bench/dp_step.py [--against CHECKOUT]`` from the repository's root. Each checkout runs
in a process of its own, on one thread; steps of all are interleaved and the fastest of each counts,
which on a shared machine is what repeats. Before anything is timed, all must give the same sum.
Patients are those of the demo: one or two exams, one or two films each, drawn from one seed.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
HEADS, SIZES = ("linear", "concatenation", "cross_attention"), (256, 800)
CLIP_NORM, SECOND_EXAM, SECOND_FILM = 0.5, 0.2, 0.5


def draw_flat(n_patients: int, n_fields: int, categories: dict[int, int]) -> dict[str, object]:
    """Flat arrays as ``build_patients`` takes them."""
    import numpy as np

    rng = np.random.default_rng(0)
    owner = [patient for patient in range(n_patients) for _ in range(1 + (rng.random() < SECOND_EXAM))]
    n_films = 1 + (rng.random(len(owner)) < SECOND_FILM)
    ends = np.cumsum(n_films)
    fields = rng.normal(size=(len(owner), n_fields)).astype(np.float32)
    for column, n in categories.items():
        fields[:, column] = rng.integers(0, n, len(owner))
    return {
        "fields": fields,
        "field_mask": rng.random(fields.shape) > 0.1,
        "target": rng.normal(size=len(owner)),
        "patient_index": np.array(owner),
        "exam_films": [tuple(range(end - n, end)) for end, n in zip(ends, n_films, strict=True)],
        "film_order": range(int(ends[-1])),
        "exam_order": range(len(owner)),
        "tokens": rng.normal(size=(int(ends[-1]), 16, 48)).astype(np.float32),
    }


def serve(head: str, n_patients: int) -> None:
    """One checkout's side: the sum once, then a pair of times for each line that comes in."""
    import torch

    from server.federation.compose import compose_settings
    from shared.model.build import build_model
    from shared.model.weights import load_flat, trainable
    from shared.train import update
    from shared.train.loss import exam_loss, make_patient_loss
    from shared.train.patient_gradients import clipped_sum
    from shared.train.patients import build_patients

    torch.set_num_threads(1)
    settings = compose_settings([f"fusion={head}"])
    schema, task, loss = settings.cohort, settings.task, make_patient_loss(settings.task)
    kinds = {place: len(f.categories) for place, f in enumerate(schema.fields) if f.kind == "category"}
    flat = draw_flat(n_patients, len(schema.fields), kinds)
    takes = inspect.signature(build_patients).parameters
    caps = {
        name: getattr(settings.privacy, name) for name in ("max_views", "max_exams") if name in takes
    }
    known = {name: value for name, value in flat.items() if name in takes}
    batch = build_patients(**known, **caps)
    model = build_model(settings, generator_seed=1)
    weights = [weight for _, weight in trainable(model)]
    draw = torch.Generator().manual_seed(2)
    load_flat(model, 0.1 * torch.randn(sum(w.numel() for w in weights), generator=draw).numpy())

    at_once = getattr(update, "patients_at_once", lambda *_: 128)  # 128 in an older checkout
    chunk = at_once(settings, torch.device("cpu"))

    def private() -> torch.Tensor:
        return clipped_sum(model, batch, loss=loss, clip_norm=CLIP_NORM, chunk=chunk)

    def ordinary() -> torch.Tensor:
        if hasattr(batch, "film_exam"):
            total = loss(model, batch).mean()
        else:  # a checkout whose models take exams with their views, [b·u,...]
            exams = [each.flatten(0, 1) for each in batch.tensors()[:4]]
            counts = batch.exam_mask.float()
            losses = exam_loss(model(*exams), batch.target.flatten(), task).reshape(counts.shape)
            total = ((losses * counts).sum(dim=1) / counts.sum(dim=1).clamp(min=1.0)).mean()
        return torch.cat([part.flatten() for part in torch.autograd.grad(total, weights)])

    said = {"sum": private().tolist(), "mean": ordinary().tolist()}
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    for _ in iter(sys.stdin.readline, ""):
        sys.stdout.write(json.dumps([_seconds(private), _seconds(ordinary)]) + "\n")
        sys.stdout.flush()


def _seconds(step: Callable[[], object]) -> float:
    began = time.thread_time()
    step()
    return time.thread_time() - began


@dataclass
class Worker:
    """A checkout's process."""

    name: str
    process: subprocess.Popen[str]

    @staticmethod
    def start(checkout: Path, head: str, n_patients: int) -> Worker:
        """Run this file on the code of ``checkout``."""
        process = subprocess.Popen(
            [sys.executable, __file__, "--serve", head, str(n_patients)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=checkout,
            env=os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
        )
        return Worker(checkout.name, process)

    def ask(self) -> list[float]:
        """Seconds of one private and one ordinary step."""
        _open(self.process.stdin).write("step\n")
        _open(self.process.stdin).flush()
        return list(json.loads(_open(self.process.stdout).readline()))


def _open(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise RuntimeError("a worker has no pipe")
    return stream


def compare(checkouts: list[Path], head: str, n_patients: int, repeats: int) -> None:
    """Print one line per checkout: fastest private and ordinary step, and their ratio."""
    workers = [Worker.start(checkout, head, n_patients) for checkout in checkouts]
    sums = [json.loads(_open(worker.process.stdout).readline()) for worker in workers]
    for other in sums[1:]:
        for name, values in sums[0].items():
            size = max(abs(value) for value in values)
            apart = max(abs(a - b) for a, b in zip(values, other[name], strict=True)) / size
            if apart > 1e-4:
                raise SystemExit(f"{head}, {n_patients} patients: {name} differs by {apart:.1e}")
    times = [[worker.ask() for worker in workers] for _ in range(repeats)]
    for place, worker in enumerate(workers):
        private, ordinary = (min(row[place][kind] for row in times) * 1e3 for kind in (0, 1))
        sys.stdout.write(
            f"{head:16} {n_patients:5} patients  {worker.name:12} private {private:8.2f} ms  "
            f"ordinary {ordinary:8.2f} ms  ratio {private / ordinary:5.2f}\n"
        )
        _open(worker.process.stdin).close()
        worker.process.wait()


def main() -> None:
    """Compare this checkout, and another if one is named, for every head and size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--against", type=Path, help="root of another checkout")
    parser.add_argument("--heads", nargs="+", default=HEADS)
    parser.add_argument("--patients", nargs="+", type=int, default=SIZES)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.serve[0], int(asked.serve[1]))
        return
    checkouts = [ROOT, *([asked.against.resolve()] if asked.against else [])]
    for head in asked.heads:
        for n_patients in asked.patients:
            compare(checkouts, head, n_patients, asked.repeats)


if __name__ == "__main__":
    main()
