"""Names and shapes of a network's tensors: in its own file, and in the layouts others publish.

Owns the renaming and the one strict comparison; a published layout says the outside name of each own
tensor, so that what is missing and what is too much follow from it. Imports torch and errors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from shared.errors import WeightsError

_SHOWN = 3
State = Mapping[str, Tensor]


@dataclass(frozen=True)
class PublishedLayout:
    """How others name a network's tensors.

    ``name_of``: the published name of an own one. ``unused``: published tensors that are no part of the
    network (classifiers), which may be there or not.
    """

    name_of: Callable[[str], str] = str
    unused: frozenset[str] = frozenset()


def own_state(network: nn.Module, state: State, layout: PublishedLayout) -> dict[str, Tensor]:
    """A published state under the network's own names.

    Raises:
        WeightsError: ``wrong-layout``: a tensor is missing, unexpected, or of another shape.
    """
    own = _counted(network.state_dict())
    published = {layout.name_of(name): name for name in own}
    given = {name: value for name, value in _counted(state).items() if name not in layout.unused}
    _compare({outside: own[name].shape for outside, name in published.items()}, given)
    return {published[name]: value for name, value in given.items()}


def load_strictly(network: nn.Module, state: State) -> None:
    """Write a state under the network's own names into it.

    Raises:
        WeightsError: ``wrong-layout``: a tensor is missing, unexpected, or of another shape.
    """
    shapes = {name: value.shape for name, value in _counted(network.state_dict()).items()}
    _compare(shapes, _counted(state))
    network.load_state_dict(dict(state), strict=False)


def wrong_layout(fact: str) -> WeightsError:
    """The refusal of a file that is not what its name says."""
    return WeightsError(
        "wrong-layout",
        fact,
        hint="name the encoder this file was packed for, or pack the checkpoint again with its layout",
    )


def _counted(state: State) -> dict[str, Tensor]:
    """Without the counters of batch normalisation, which carry nothing here."""
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


def _compare(expected: Mapping[str, tuple[int, ...]], state: State) -> None:
    faults = {
        "missing": sorted(set(expected) - set(state)),
        "unexpected": sorted(set(state) - set(expected)),
        "reshaped": sorted(
            name for name in set(expected) & set(state) if expected[name] != state[name].shape
        ),
    }
    if any(faults.values()):
        raise wrong_layout(
            "its tensors must be exactly those of its layout: "
            + "; ".join(_told(word, names) for word, names in faults.items())
        )


def _told(word: str, names: Collection[str]) -> str:
    first = ", ".join(list(names)[:_SHOWN])
    return f"{len(names)} {word}" + (
        f" ({first}{', …' if len(names) > _SHOWN else ''})" if names else ""
    )
