"""Settings that a learner of tables does not use: set by somebody, they are refused, never ignored.

What is null or as shipped was set by nobody. Takes settings as they were read, before they are
validated, so that all mistakes are told together. Imports stages and learners.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel

from shared.contract.schedules import STANDARD
from shared.contract.stages import StrategySettings
from shared.learners.table import LEARNERS

# A setting's place, what it must be, what it is, and what is used instead.
_Found = tuple[str, object, object, str]
# Where each comes from instead.
_SUMS = "a learner has a round per sum (learner.sums, where it has one)"
_STEPS = "there are no steps at a site"
_FOLDED = "a learner's sums are added over all sites"
_ADDED = f"{_FOLDED}, and of sums of unequal sites a median means nothing"
_RATE = "a learner has a learner.schedule, or no rate"
_NOISE = "the noise follows from privacy.epsilon and the learner's shares"
_BOUND = "a learner bounds its rows itself (learner.clip_norm or its radius)"
_EVERYBODY = "every patient is in every sum"
_TOTALS = "totals leave a site, no updates"
_CANARIES = "canaries train beside patients by gradients only"
_LOSS = "a learner has no loss of the task"
_HEAD = "a learner replaces the fusion"
# By group and setting: what is used instead.
_UNUSED: Mapping[str, Mapping[str, str]] = {
    "federation": {
        "rounds": _SUMS,
        "local_steps": _STEPS,
        "learning_rate": _RATE,
        "fold": _FOLDED,
        "local_tail": _STEPS,
    },
    "privacy": {
        "noise_multiplier": _NOISE,
        "update_norm_max": _TOTALS,
        "clip_norm": _BOUND,
        "sample_rate": _EVERYBODY,
        "canaries": _CANARIES,
    },
    "strategy": dict.fromkeys(StrategySettings.model_fields, _ADDED),
}
# Whose own values a task's or a fusion's file names: compared with that file, where it is known.
_UNUSED_OF_FILES: Mapping[str, tuple[Sequence[str], str]] = {
    "task": (("smooth_l1_beta", "loss_threshold", "loss_emphasis", "loss_scale", "link"), _LOSS),
    "fusion": (
        ("schedules", "width", "layers", "heads", "hidden", "directions", "head_hidden"),
        _HEAD,
    ),
}


def list_unused(
    values: Mapping[str, object],
    *,
    groups: Mapping[str, type[BaseModel]],
    shipped: Mapping[str, object] | None = None,
) -> tuple[str, ...]:
    """A line per setting that somebody has set and that the learner would not use; none for gradients.

    Args:
        values: settings as composed or read.
        groups: what validates federation, privacy and strategy: their defaults were set by nobody.
        shipped: the same choices of files without any value changed; None where it is not known.
    """
    kind = _group(values, "learner").get("kind")
    if kind not in LEARNERS:
        return ()
    found = [*_of_groups(values, groups), *_of_fusion(values), *_of_files(values, shipped or {})]
    return tuple(
        f"  {place}: must be {must} with learner {kind}, not {value!r}; {instead}"
        for place, must, value, instead in found
    )


def _of_groups(values: Mapping[str, object], groups: Mapping[str, type[BaseModel]]) -> Iterator[_Found]:
    for group, names in _UNUSED.items():
        for name, instead in names.items():
            unset = groups[group].model_fields[name].default
            value = _group(values, group).get(name)
            if value is not None and value != unset:
                yield f"{group}.{name}", "null" if unset is None else unset, value, instead


def _of_fusion(values: Mapping[str, object]) -> Iterator[_Found]:
    schedule = values.get("schedule", STANDARD)
    if schedule != STANDARD:
        yield "schedule", STANDARD, schedule, _SUMS
    name = _group(values, "fusion").get("name")
    # A learner reads the mean image token and the clinical fields, and has no hidden layer.
    if name in ("image_only", "concatenation"):
        yield "fusion.name", "linear or clinical_only", name, _HEAD


def _of_files(values: Mapping[str, object], shipped: Mapping[str, object]) -> Iterator[_Found]:
    for group, (names, instead) in _UNUSED_OF_FILES.items():
        given, unset = _group(values, group), _group(shipped, group)
        for name in names:
            if name in given and name in unset and given[name] != unset[name]:
                yield f"{group}.{name}", "as in its file", given[name], instead


def _group(values: Mapping[str, object], name: str) -> Mapping[str, object]:
    group = values.get(name)
    return group if isinstance(group, Mapping) else {}
