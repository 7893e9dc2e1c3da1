"""Refuses models whose patients cannot be protected one by one, or that do not learn silently.

Run before a run, on public films with the noise off: noise would move any tensor, and hide that one
never receives a gradient. Imports the gradient engine only.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm

from shared.errors import PrivacyError
from shared.model.weights import trainable
from shared.train.loss import PatientLoss
from shared.train.patient_gradients import clipped_sum
from shared.train.patients import PatientBatch

# The head starts at zero, then a low-rank layer's B does: its A learns in the third step.
_PROBE_STEPS = 3
_PROBE_LEARNING_RATE = 0.1


def validate_model(model: nn.Module, public_batch: PatientBatch, *, loss: PatientLoss) -> None:
    """Raise unless every patient can be protected and every trainable tensor learns.

    Args:
        model: as it will be trained; left unchanged.
        public_batch: public or synthetic patients with every view, field and missing value in use.
        loss: one patient's loss.

    Raises:
        PrivacyError: all problems together: normalisation over the batch, active dropout, or a
            trainable tensor without a gradient within three steps.
    """
    problems = _module_problems(model)
    if not problems:
        problems = _silent_tensors(model, public_batch, loss)
    if problems:
        raise PrivacyError(
            "unfit-model",
            "the model cannot be trained with one gradient per patient:\n"
            + "\n".join(f"  {problem}" for problem in problems),
            hint="use GroupNorm or LayerNorm, or freeze BatchNorm and put it into eval(); "
            "freeze tensors that are not meant to learn",
        )


def _module_problems(model: nn.Module) -> list[str]:
    problems = []
    for name, module in model.named_modules():
        label = f"{name or 'model'} ({type(module).__name__})"
        if isinstance(module, _BatchNorm):
            # Frozen weights are not enough: in train() it still averages over patients.
            if module.training or not module.track_running_stats:
                problems.append(f"{label} averages over patients: it must be in eval()")
            if any(weight.requires_grad for weight in module.parameters()):
                problems.append(f"{label} is trainable: it must be frozen")
        elif isinstance(module, _InstanceNorm) and module.track_running_stats and module.training:
            problems.append(f"{label} keeps running statistics of patients: it must be in eval()")
        elif isinstance(module, _DropoutNd) and module.training and module.p > 0:
            problems.append(f"{label} is active: runs could not be repeated; set its rate to 0")
    return problems


def _silent_tensors(model: nn.Module, public_batch: PatientBatch, loss: PatientLoss) -> list[str]:
    """Trainable tensors without a gradient in three noise-free steps."""
    probe = copy.deepcopy(model)
    weights = trainable(probe)
    silent = {name for name, _ in weights}
    for _ in range(_PROBE_STEPS):
        total = clipped_sum(probe, public_batch, loss=loss, clip_norm=None, chunk=len(public_batch))
        start = 0
        with torch.no_grad():
            for name, weight in weights:
                gradient = total[start : start + weight.numel()].view_as(weight)
                start += weight.numel()
                if bool((gradient != 0).any()):
                    silent.discard(name)
                step = gradient.to(weight.dtype) * (_PROBE_LEARNING_RATE / len(public_batch))
                weight.sub_(step)
    return [
        f"{name} gets no gradient within {_PROBE_STEPS} steps" for name, _ in weights if name in silent
    ]
