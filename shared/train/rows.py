"""The gradient of each patient's loss, one row per patient, taken over all trainable weights jointly.

Three ways to the same rows [b,p]. ``loop``: one backward pass per patient, the oracle. ``vmap``: any
model, some patients at once. ``layers``: a head in one ordinary backward pass over some patients, whose
rows are put together from what entered each layer and what came back to its output. Each keeps a
patient's numbers within that patient's row of every tensor. Owns which layers the last way knows.
Legend: b patients · n places where a patient meets a layer · i inputs · o outputs · p trainable
weights, in ``named_parameters`` order.

Source: Bu et al. 2023 (arXiv 2210.00038), Book-Keeping; here every row is written out and its norm
taken from it, since Gram products can cancel under hostile weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from shared.model.end_to_end import EndToEnd
from shared.model.fusion import Mix
from shared.model.weights import trainable
from shared.train.canaries import Register
from shared.train.loss import PatientLoss
from shared.train.patients import PatientBatch

Backend = Literal["loop", "vmap", "layers"]
Rows = Callable[[nn.Module, PatientBatch, PatientLoss], Tensor]
# Of one layer: its inputs, and the loss's gradient at its output -> gradients [b,...] by weight name.
LayerRows = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Mapping[str, Tensor]]


def choose_backend(model: nn.Module) -> Backend:
    """The fastest backend for a model, where measured; all give the same rows.

    On a processor an encoder's own work is all there is, and one patient at a time needs the least
    memory.
    """
    if all(type(layer) in LAYERS for layer, _ in _trainable_layers(model)):
        return "layers"
    trains_encoder = any(isinstance(part, EndToEnd) for part in model.modules())
    is_on_gpu = any(weight.is_cuda for weight in model.parameters())
    return "loop" if trains_encoder and not is_on_gpu else "vmap"


def rows_by_loop(model: nn.Module, part: PatientBatch, loss: PatientLoss) -> Tensor:
    """Gradients [b,p], one patient after the other."""
    # A patient of their own memory: kernels may depend on how a tensor is aligned.
    rows = [_gradient_of_one(model, part.select([row]), loss) for row in range(len(part))]
    return torch.stack(rows)


def _gradient_of_one(model: nn.Module, part: PatientBatch, loss: PatientLoss) -> Tensor:
    weights = [weight for _, weight in trainable(model)]
    value = loss(model, part.patient(0))
    if not value.requires_grad:
        return torch.cat([torch.zeros_like(weight).reshape(-1) for weight in weights])
    parts = torch.autograd.grad(value, weights, allow_unused=True, materialize_grads=True)
    flat: Tensor = torch.cat([part.reshape(-1) for part in parts])
    return flat


def rows_by_vmap(model: nn.Module, part: PatientBatch, loss: PatientLoss) -> Tensor:
    """Gradients [b,p] by ``torch.func``."""
    weights = {name: weight.detach() for name, weight in trainable(model)}
    rest = {
        name: tensor.detach()
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if name not in weights
    }

    def loss_of(current: Mapping[str, Tensor], tensors: tuple[Tensor, ...]) -> Tensor:
        def run(*inputs: Tensor) -> Tensor:
            output: Tensor = functional_call(model, {**rest, **current}, inputs)
            return output

        return loss(run, PatientBatch(*tensors))

    per_patient = vmap(grad(loss_of), in_dims=(None, 0))(weights, part.tensors())
    return torch.cat([per_patient[name].reshape(len(part), -1) for name in weights], dim=1)


def rows_by_layers(model: nn.Module, part: PatientBatch, loss: PatientLoss) -> Tensor:
    """Gradients [b,p] from each layer's inputs and the gradients at its outputs."""
    weights = {name: weight.detach() for name, weight in trainable(model)}
    layers = dict(_trainable_layers(model))
    met: list[tuple[nn.Module, tuple[Tensor, ...], Tensor]] = []

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        met.append((layer, inputs, output if output.requires_grad else output.requires_grad_()))

    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        # Weights without a gradient of their own: none is summed over patients.
        value = loss(lambda *inputs: functional_call(model, weights, inputs), part).sum()
    finally:
        for hook in hooks:
            hook.remove()
    came_back = torch.autograd.grad(
        value, [output for _, _, output in met], allow_unused=True, materialize_grads=True
    )
    with torch.no_grad():  # a row that keeps its graph keeps every activation of its chunk
        found: dict[str, Tensor] = {}
        for (layer, inputs, _), gradient in zip(met, came_back, strict=True):
            for own, rows in LAYERS[type(layer)](layer, inputs, gradient).items():
                name = f"{layers[layer]}{own}"
                found[name] = found[name] + rows if name in found else rows
        nothing = value.new_zeros(len(part), 1)
        return torch.cat(
            [
                found[name].reshape(len(part), -1) if name in found else nothing.expand(-1, w.numel())
                for name, w in weights.items()
            ],
            dim=1,
        )


def _trainable_layers(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Modules that hold trainable weights themselves, with the prefix of these weights' names."""
    for name, part in model.named_modules():
        if any(weight.requires_grad for weight in part.parameters(recurse=False)):
            yield part, f"{name}." if name else ""


def _linear_rows(_: nn.Module, inputs: tuple[Tensor, ...], gradient: Tensor) -> Mapping[str, Tensor]:
    b = gradient.shape[0]
    entered = inputs[0].reshape(b, -1, inputs[0].shape[-1])  # [b,n,i]
    back = gradient.reshape(b, -1, gradient.shape[-1])  # [b,n,o]
    return {"weight": back.transpose(1, 2) @ entered, "bias": back.sum(dim=1)}


def _layer_norm_rows(
    layer: nn.Module, inputs: tuple[Tensor, ...], gradient: Tensor
) -> Mapping[str, Tensor]:
    b, d = gradient.shape[0], gradient.shape[-1]
    standard = functional.layer_norm(inputs[0], (d,), eps=cast(nn.LayerNorm, layer).eps)
    return {
        "weight": (gradient * standard).reshape(b, -1, d).sum(dim=1),
        "bias": gradient.reshape(b, -1, d).sum(dim=1),
    }


def _mix_rows(layer: nn.Module, inputs: tuple[Tensor, ...], gradient: Tensor) -> Mapping[str, Tensor]:
    new, old = inputs
    gate = torch.sigmoid(layer.get_parameter("logit"))
    along = (gradient * (new - old)).flatten(1).sum(dim=1, keepdim=True)  # [b,1]
    return {"logit": along * (gate * (1.0 - gate))}


def _register_rows(
    layer: nn.Module, inputs: tuple[Tensor, ...], gradient: Tensor
) -> Mapping[str, Tensor]:
    places = torch.arange(layer.get_parameter("places").numel(), device=gradient.device)
    is_place = inputs[0].clamp(min=0).unsqueeze(1) == places  # [b,m]
    return {"places": torch.where(is_place, gradient.unsqueeze(1), 0.0)}


LAYERS: Mapping[type[nn.Module], LayerRows] = {
    nn.Linear: _linear_rows,
    nn.LayerNorm: _layer_norm_rows,
    Mix: _mix_rows,
    Register: _register_rows,
}
ROWS: Mapping[Backend, Rows] = {
    "loop": rows_by_loop,
    "vmap": rows_by_vmap,
    "layers": rows_by_layers,
}
