"""Toys that somebody could add: a learner, a family of radiomics, an encoder, each as written by hand.

``NAME`` in a page stands for a toy's name. What a command writes afterwards is no file by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Edit = tuple[str, str]  # a line that stands once in a file, and what follows or precedes it too
PYTHON = "python"  # the running one


@dataclass(frozen=True, kw_only=True)
class Addition:
    """What is added by hand, and what commands make of it.

    ``new`` and ``edits``: files by path. ``commands``: run in the tree afterwards; they may write
    ``written``. ``digest``: a file whose SHA-256 is put where ``{sha256}`` stands. ``page``: says the
    steps. ``tests`` must pass then, those of them that ``ASKED`` chooses, and the programs ``works``.
    ``table``: what stands in a test that goes over all of its kind, each of which is in ``tests``.
    """

    new: Mapping[str, str]
    edits: Mapping[str, tuple[Edit, ...]]
    page: str
    tests: tuple[str, ...]
    works: tuple[str, ...] = ()
    table: str = ""
    commands: tuple[tuple[str, ...], ...] = ()
    written: tuple[str, ...] = ()
    digest: str = ""

    @property
    def by_hand(self) -> set[str]:
        """Every file that somebody opens."""
        return {*self.new, *self.edits}

    def apply(self, tree: Path) -> None:
        """Write the new files and the edits into a tree.

        Raises:
            ValueError: a line that is edited does not stand once in its file.
        """
        for path, text in self.new.items():
            (tree / path).write_text(text)
        for path, edits in self.edits.items():
            text = (tree / path).read_text()
            for old, new in edits:
                if text.count(old) != 1:
                    raise ValueError(f"{path} must have once: {old}")
                text = text.replace(old, new)
            (tree / path).write_text(text)


_LEARNER = '''"""Toy: a patient is of the class whose mean lies nearest, from one sum over all patients.

Imports columns and the sums by class. Legend: n patients · f columns · q classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel

from shared.features.columns import Columns
from shared.learners.class_sums import ClassSums
from shared.learners.rows import Floats, softmax
from shared.learners.task import TableTask, require_classes
from shared.strict import FROZEN
from shared.sums.contract import State


class ToySettings(BaseModel):
    """Settings of the toy: none."""

    model_config = FROZEN

    kind: Literal["toy"]


@dataclass(frozen=True)
class Toy:
    """State after the sum [q·f]: means."""

    asked: ClassSums

    @classmethod
    def build(cls, settings: ToySettings, task: TableTask) -> Toy:
        """The learner of a plan."""
        require_classes(task, kind=settings.kind)
        radius = 0.5 * len(task.columns) ** 0.5
        columns, n_classes = task.columns, task.n_classes
        return cls(
            ClassSums(columns=columns, n_classes=n_classes, radius=radius, count_weight=radius)
        )

    def start(self) -> State:
        """Nothing."""
        return State(np.zeros(0))

    def shares(self) -> tuple[float, ...]:
        """One sum."""
        return (1.0,)

    def length(self, state: State) -> int:
        """q·(1 + f)."""
        del state
        return self.asked.length

    def bound(self, state: State) -> float:
        """Of one class, clipped."""
        del state
        return self.asked.bound

    def rows(self, state: State, patients: Columns) -> Floats:
        """Weight and columns at the place of the class, [n, q·(1 + f)]."""
        del state
        return self.asked.rows(patients)

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """Means; counts that noise has eaten are its SD."""
        del n_declared
        return State(self.asked.read(total, sd=sd).means.ravel(), state.sums_done + 1)

    def predict(self, state: State, patients: Columns) -> Floats:
        """[n,q]."""
        z = self.asked.scaled(patients)
        means = state.vector.reshape(self.asked.n_classes, -1)
        return softmax(-np.stack([((z - mean) ** 2).mean(axis=1) for mean in means], axis=1))
'''
_LEARNER_TEST = '''"""The toy's means, by hand."""

import numpy as np
from practice_tables import table_task

from shared.features.columns import Columns
from shared.learners.toy import Toy, ToySettings
from shared.sums.federate import federate


def test_means_by_hand() -> None:
    toy = Toy.build(ToySettings(kind="toy"), table_task(1, n_classes=2))
    patients = Columns(np.array([[-0.1], [0.1], [0.3]]), np.array([0.0, 1.0, 1.0]))
    state = federate(toy, [patients], n_declared=3)
    first, second, third = toy.asked.scaled(patients)[:, 0]
    assert np.allclose(state.vector, [first, (second + third) / 2])
    assert toy.predict(state, patients).argmax(axis=1).tolist() == [0, 1, 1]
'''
_FAMILY = '''"""Toy: by how many levels neighbours along a row differ."""

from __future__ import annotations

import numpy as np

from shared.features.radiomics.region import Region


def measure(region: Region) -> dict[str, float]:
    """mean_step and largest_step; 0 where no pixel has a neighbour."""
    inside = region.mask
    both = inside[:, 1:] & inside[:, :-1]
    steps = np.abs(np.diff(region.levels.astype(np.int64), axis=1))[both]
    found = (steps.mean(), steps.max()) if steps.size else (0.0, 0.0)
    return {"mean_step": float(found[0]), "largest_step": float(found[1])}
'''
_FAMILY_TEST = '''"""The toy's steps, by hand."""

import numpy as np
from practice_radiomics import region_of

from shared.features.radiomics.toy import measure


def test_steps_by_hand() -> None:
    found = measure(region_of(np.array([[1, 2, 4], [0, 3, 3]])))
    assert found == {"mean_step": 1.0, "largest_step": 2.0}
'''
_NETWORK = '''"""Toy: one block that shrinks a film thirty-two fold. Imports torch only."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

CHANNELS, GRID = 8, 4


class ToyNetwork(nn.Module):
    """A strided convolution and a mean over cells."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, CHANNELS, 8, stride=8)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: [b,1,128,128] -> [b,8,4,4]."""
        return functional.avg_pool2d(functional.gelu(self.convolution(image)), 4)
'''
_ENCODER_YAML = """# Toy: a strided convolution, taught on 64 public synthetic films.
name: toy
weights: toy.safetensors
sha256: {sha256}
token_channels: 8
token_grid: 4
"""
_REMAKE = "from server.encoders.public_radiomics import remake_constants; remake_constants(n_films=80)"
_ENCODE = (
    "import numpy as np, torch; from server.federation.compose import compose_settings as compose; "
    "from server.encoders.file import encoder_file; "
    "from shared.model.encoders import encode, load_encoder; "
    "settings = compose(['encoder=toy']).encoder; "
    "tokens = encode(load_encoder(settings, encoder_file(settings)), torch.rand(2, 1, 128, 128)); "
    "raise SystemExit(tokens.shape != (2, 16, 8))"
)
_COORDINATOR = "from server.command.app import app; app()"
_DOCS = (PYTHON, "-m", "reference")
_HOUSE = (
    "tests/house/test_one_table.py",
    "tests/house/test_mirror.py",
    "tests/house/test_reference.py",
    "tests/house/test_rooms.py",
)
# As pytest's -k has it: what concerns the toy, all of its kind, or what is shipped.
ASKED = "toy or test_every or test_an_encoder or shipped or imports_itself or is_kept"

ADDITIONS: dict[str, Addition] = {
    "a learner": Addition(
        new={
            "shared/learners/toy.py": _LEARNER,
            "configs/learner/toy.yaml": "# Means of the classes, from one sum.\nkind: toy\n",
            "tests/shared/learners/test_toy.py": _LEARNER_TEST,
        },
        edits={
            "shared/learners/following.py": (
                (
                    "from shared.learners.task import TableTask\n",
                    "from shared.learners.task import TableTask\n"
                    "from shared.learners.toy import Toy, ToySettings\n",
                ),
                (
                    "    | SoftNeighboursSettings\n",
                    "    | SoftNeighboursSettings\n    | ToySettings\n",
                ),
                (
                    '    "soft_neighbours": SoftNeighbours.build,\n',
                    '    "soft_neighbours": SoftNeighbours.build,\n    "toy": Toy.build,\n',
                ),
            ),
        },
        page="docs/how-to/own-learner.md",
        tests=(
            *_HOUSE,
            "tests/federation/test_learner_families.py",
            "tests/server/experiments/test_learners.py",
            "tests/server/experiments/test_learners_page.py",
            "tests/server/federation/test_plan.py",
            "tests/server/report/test_training.py",
            "tests/server/simulation/test_arms.py",
            "tests/shared/learners",
            "tests/shared/stages/test_learner.py",
            "tests/shared/sums/test_conformance.py",
        ),
        table=r"(?s)learners\.table import (?:\([^)]*|[^\n]*)\bLEARNERS\b.*"
        r'(?:", (?:sorted\(set\()?LEARNERS|set\(LEARNERS\)|for kind in LEARNERS)'
        r'|import PLANNED|/ "learner"\)\.glob',
        commands=(_DOCS, (PYTHON, "-m", "server.experiments.learners_page", "--kept")),
        written=("docs/learners.md",),
    ),
    "a family of radiomics": Addition(
        new={
            "shared/features/radiomics/toy.py": _FAMILY,
            "tests/shared/features/radiomics/test_toy.py": _FAMILY_TEST,
        },
        edits={
            "shared/features/radiomics/table.py": (
                ("    shape,\n", "    shape,\n    toy,\n"),
                (
                    '    "neighbourhood": neighbourhood.measure,\n',
                    '    "neighbourhood": neighbourhood.measure,\n    "toy": toy.measure,\n',
                ),
            ),
            "tests/shared/features/radiomics/test_table.py": (
                (
                    "HELD_BY = {\n",
                    "HELD_BY = {\n"
                    '    "toy.mean_step": "test_toy",\n'
                    '    "toy.largest_step": "test_toy",\n',
                ),
            ),
        },
        page="docs/how-to/own-features.md",
        tests=(
            *_HOUSE,
            "tests/shared/features/radiomics",
            "tests/shared/features/test_sources.py",
            "tests/shared/features/test_radiomics_block.py",
            "tests/server/encoders/test_public_radiomics.py",
        ),
        commands=((PYTHON, "-c", _REMAKE), _DOCS),
        written=("shared/features/radiomics/public.json", "configs/features/"),
    ),
    "an encoder with a network of its own": Addition(
        new={
            "shared/model/toy.py": _NETWORK,
            "configs/encoder/toy.yaml": _ENCODER_YAML,
        },
        edits={
            "shared/model/architectures.py": (
                (
                    "from shared.model import vision_transformer as vit\n",
                    "from shared.model import toy\n"
                    "from shared.model import vision_transformer as vit\n",
                ),
                (
                    '    "resnet_gn": Architecture(\n',
                    '    "toy": Architecture("osteofed-toy-1", toy.CHANNELS, toy.GRID, '
                    "toy.ToyNetwork),\n"
                    '    "resnet_gn": Architecture(\n',
                ),
            ),
            "shared/contract/encoder_names.py": (('    "tiny",\n', '    "tiny",\n    "toy",\n'),),
        },
        page="docs/how-to/own-fusion.md",
        tests=(*_HOUSE, "tests/shared/model/test_architectures.py"),
        works=(_ENCODE,),
        commands=(
            (PYTHON, "-c", _COORDINATOR, "pretrain", "toy", "--films", "64"),
            _DOCS,
        ),
        written=("configs/encoder/toy.safetensors",),
        digest="configs/encoder/toy.safetensors",
    ),
}
