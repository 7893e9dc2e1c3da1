"""What a system is to the experiments: an entry of data, from its paper to its arms.

Imports populations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from server.experiments.populations import Population

EPSILON = 3.0  # promised to a patient where training is private
DELTA = 1e-5  # of every ε here, as the settings have it
INTERNAL, EXTERNAL, PROSPECTIVE = "internal", "external", "prospective"
FEDERATED, POOLED, ALONE = "federated", "pooled", "alone"
LOCAL = f"{FEDERATED} + local"
NO_PRIVACY = "no privacy"


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A variant of a system: settings, as Hydra writes them."""

    name: str
    settings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """Two arms on the same patients.

    Attributes:
        first: its name.
        second: of the other.
        claim: why the paper has the first above; or empty.
        is_in_full: whether both are compared by every figure of the system's tables, in every training.
    """

    first: str
    second: str
    claim: str = ""
    is_in_full: bool = False


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What else is read of a system's models: one of ``readings.KINDS``; ``arms``: none means all."""

    kind: str
    arms: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Training:
    """Who trains together, how, and where it is read.

    Attributes:
        mode: one of ``FEDERATED``, ``POOLED``, ``ALONE``, ``LOCAL``.
        sites: who trains.
        is_private: under ``EPSILON``; else without noise or clipping.
        places: patients on whom it is measured.
        left_out: the hospital that is measured and does not train, where it is one.
        looked_at: of ``places``, or a hospital's later patients: whose films have masks of bone, by
            which it is asked where the model looks.
        base: the training whose release it goes on from, under an ε of its own; None: it begins anew.
    """

    mode: str
    sites: tuple[str, ...]
    is_private: bool
    places: tuple[str, ...]
    left_out: str = ""
    looked_at: tuple[str, ...] = ()
    base: Training | None = None

    @property
    def kind(self) -> str:
        """How it is trained, in words."""
        return self.mode if self.is_private else f"{self.mode}, {NO_PRIVACY}"

    @property
    def name(self) -> str:
        """In words, with who is alone or left out."""
        if self.left_out:
            return f"{self.kind}, without {self.left_out}"
        return f"{self.kind}: {self.sites[0]}" if self.mode in (ALONE, LOCAL) else self.kind


Design = Callable[[Population], tuple[Training, ...]]


def usual(population: Population) -> tuple[Training, ...]:
    """Federated with and without privacy, pooled without, each hospital alone under the same ε."""
    sites, places = population.training, (INTERNAL, EXTERNAL, PROSPECTIVE)
    together = [
        Training(mode=mode, sites=sites, is_private=is_private, places=places)
        for mode, is_private in ((FEDERATED, True), (FEDERATED, False), (POOLED, False))
    ]
    alone = [Training(mode=ALONE, sites=(site,), is_private=True, places=places) for site in sites]
    return (*together, *alone)


def leave_one_out(population: Population) -> tuple[Training, ...]:
    """For each hospital, on its later patients: alone, the others pooled and federated, and what the
    hospital's own patients make of the federation's release.

    A hospital that trains for itself alone need not protect its model: it has no noise. What it trains
    on top of a release has: such a model is handed to doctors, and goes by the hospital's ledger.
    """
    found = []
    for site in population.training:
        others = tuple(other for other in population.training if other != site)
        federated = Training(
            mode=FEDERATED, sites=others, is_private=True, places=(site,), left_out=site
        )
        found += [
            Training(mode=ALONE, sites=(site,), is_private=False, places=(site,)),
            Training(mode=POOLED, sites=others, is_private=False, places=(site,), left_out=site),
            federated,
            Training(mode=LOCAL, sites=(site,), is_private=True, places=(site,), base=federated),
        ]
    return tuple(found)


def looked_at(population: Population) -> tuple[Training, ...]:
    """The usual ones, and where the private federation looks, outside."""
    return tuple(
        replace(each, looked_at=(EXTERNAL,)) if each.is_private and each.mode == FEDERATED else each
        for each in usual(population)
    )


def swept(population: Population) -> tuple[Training, ...]:
    """Federated with privacy alone, and where it looks."""
    return looked_at(population)[:1]


def at_hospital(hospital: str) -> Design:
    """Federated, and one hospital alone, read at that hospital and outside, and where both look."""
    return partial(_at_hospital, hospital)


def _at_hospital(hospital: str, population: Population) -> tuple[Training, ...]:
    places = (hospital, EXTERNAL)
    return tuple(
        Training(mode=mode, sites=sites, is_private=is_private, places=places, looked_at=places)
        for mode, sites in ((FEDERATED, population.training), (ALONE, (hospital,)))
        for is_private in (True, False)
    )


@dataclass(frozen=True, kw_only=True)
class System:
    """One system.

    Attributes:
        name: of its entry.
        paper: whose idea it is.
        population: the hospitals.
        arms: the first is the system itself.
        ablations: pairs of arms.
        figures: of a table, the first is drawn.
        readings: what else is read of its models, each in a table of its own.
        of_arms: figures of one more table, of the arms beside each other; none: there is no such table.
        stand_ins: what is otherwise than in the paper, a line each.
        design: who trains together.
        share_epsilon: whether all arms together are under one ε, as a sweep's.
        beside: the system that it belongs to, and is measured with.
        clean: the system that differs by its patients alone, beside whose figures its own are drawn.
    """

    name: str
    paper: str
    population: Population
    arms: tuple[Arm, ...]
    ablations: tuple[Ablation, ...] = ()
    figures: tuple[str, ...]
    readings: tuple[Reading, ...] = ()
    of_arms: tuple[str, ...] = ()
    stand_ins: tuple[str, ...] = ()
    design: Design = usual
    share_epsilon: bool = False
    beside: str = ""
    clean: str = ""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How much is measured: patients at every hospital, populations."""

    name: str
    n_patients: int
    n_seeds: int


SETTINGS = {
    "small": Setting(name="small", n_patients=200, n_seeds=3),
    # for a machine with a GPU
    "full": Setting(name="full", n_patients=2000, n_seeds=10),
}
