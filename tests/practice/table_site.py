"""A federation over tables with approved sites, made once and copied for tests that change it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from table_federation import found_tables, table_settings, write_table

import client.answers.answer
from client.answers.answer import answer_sum
from client.cohort.patients import SplitData, load_split
from client.gate.gate import Gate, Released, open_gate
from client.site.approved import approved_plan
from client.site.folder import Site, open_site
from shared.contract.plan import Plan
from shared.contract.protocol import SumRequest
from shared.contract.settings import Settings
from shared.contract.stages import GradientStage
from shared.errors import OsteoFedError
from shared.exam.schema import Split
from shared.model.build import build_model
from shared.model.weights import flatten_weights

ROWS = {"elm": range(150), "hop": range(150, 260)}
RELEASE = "f" * 64


@dataclass(frozen=True)
class TableSites:
    """A training site ``elm``, an external site ``hop``, and the plan both approved."""

    folder: Path
    plan_sha256: str
    overrides: tuple[str, ...]

    def site(self, name: str = "elm") -> Site:
        """The opened site."""
        return open_site(self.folder / "sites" / name)

    def gate(self, name: str = "elm") -> Gate:
        """Its gate, as the ClientApp opens it."""
        site = self.site(name)
        return open_gate(site.folder, site=site.name, key=site.key, clock=site.clock)

    @property
    def plan(self) -> Plan:
        """The approved plan."""
        return approved_plan(self.site(), self.plan_sha256).plan

    @property
    def asked(self) -> Settings:
        """The settings that the plan was drafted from."""
        return table_settings(self.folder, self.overrides)

    @property
    def training(self) -> GradientStage:
        """The plan's stage that trains."""
        stage = self.plan.stage("train")
        assert isinstance(stage, GradientStage)
        return stage

    @property
    def weights(self) -> np.ndarray:
        """The plan's initial weights, moved a little so that no gradient is special."""
        initial = self.initial
        return initial + np.linspace(-0.02, 0.02, initial.size, dtype=np.float32)

    @property
    def initial(self) -> np.ndarray:
        """The plan's initial weights, from which alone round 1 may start."""
        settings = self.plan.settings
        return flatten_weights(build_model(settings, settings.seed))

    def split(self, split: Split | None, name: str = "elm") -> SplitData:
        """Patients of a site."""
        schema = self.plan.settings.cohort.name
        return load_split(self.site(name), self.plan, name=schema, split=split)

    def train_request(self, **changes: object) -> SumRequest:
        """What the coordinator asks in round 2; in round 1, with the weights that the plan names."""
        is_first = changes.get("round") == 1
        values: dict[str, object] = {
            "plan_sha256": self.plan_sha256,
            "stage": "train",
            "round": 2,
            "vector": self.initial if is_first else self.weights,
            "release_sha256": "",
            "lock_sha256": "",
            "ledger_head": "",
            "countersignature": "",
        }
        return SumRequest(**(values | changes))

    def measure_request(self, stage: str = "internal", **changes: object) -> SumRequest:
        """What the coordinator asks after training."""
        values: dict[str, object] = {"stage": stage, "round": 1, "release_sha256": RELEASE}
        values["vector"] = self.weights
        if stage == "description":
            values |= {"release_sha256": "", "vector": np.zeros(0, np.float32)}
        return self.train_request(**(values | changes))

    def change_policy(self, name: str = "elm", **changes: object) -> None:
        """The hospital changes its mind after approval."""
        path = self.folder / "sites" / name / "policy.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))

    def answer(self, request: SumRequest, name: str = "elm") -> Released:
        """What a site lets go in answer to a request."""
        return answer_sum(self.site(name), self.gate(name), request)

    def refused(self, request: SumRequest, name: str = "elm") -> str:
        """The code with which a site refuses; nothing was charged."""
        before = self.charges(name)
        with pytest.raises(OsteoFedError) as caught:
            self.answer(request, name)
        assert self.charges(name) == before
        return caught.value.code

    def charges(self, name: str = "elm") -> int:
        """How many charges are in a site's ledger."""
        return sum(row.kind == "charge" for row in self.gate(name).ledger.show())


def found_table_sites(folder: Path, *overrides: str) -> TableSites:
    """The federation, one local step a round, folded at the site unless ``overrides`` say otherwise."""
    for name, rows in ROWS.items():
        write_table(folder / "archives" / name / "clinical.csv", rows)
    archives = {name: folder / "archives" / name for name in ROWS}
    chosen = ("rounds=3", "local_steps=1", "learning_rate=0.5", "fold=site")
    said = (*(f"federation.{each}" for each in chosen), *overrides)
    store, _ = found_tables(folder, archives, external=["hop"], overrides=said)
    return TableSites(folder, store.plan.sha256, said)


def copy_sites(made: TableSites, folder: Path) -> TableSites:
    """The same federation in another folder, free to be changed."""
    shutil.copytree(made.folder, folder, dirs_exist_ok=True)
    return replace(made, folder=folder)


@contextmanager
def known_noise(value: float) -> Iterator[list[int]]:
    """Every normal is ``value``; yields how many were drawn each time."""
    drawn: list[int] = []

    def draw(n: int) -> torch.Tensor:
        drawn.append(n)
        return torch.full((n,), value, dtype=torch.float64)

    kept = client.answers.answer.NoiseStream
    try:
        client.answers.answer.NoiseStream = lambda: draw  # type: ignore[assignment,misc,return-value]
        yield drawn
    finally:
        client.answers.answer.NoiseStream = kept  # type: ignore[misc]
