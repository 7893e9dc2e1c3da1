"""Every system once as hospitals would run it: processes, TLS, node keys, one private run, recounted.

A small population is drawn, and the first arm of the system simulated over it with ``engine=deployed``;
then an auditor's recount goes through ledgers and run folder. Imports simulation and the auditor.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from server.experiments.populations import draw_hospital
from server.experiments.system import EPSILON, System
from server.federation.compose import compose_settings
from server.federation.folder import Home
from server.report.answers import MEASURED, answers_to
from server.run.folder import RunStore, open_run
from server.simulation.hospitals import Folders
from server.simulation.play import RUN
from server.simulation.request import Request
from server.simulation.simulate import run_request
from shared.audit.finding import Finding
from shared.audit.recount.claims import recount_findings
from shared.audit.recount.evidence import gather_evidence
from shared.errors import RunError
from shared.machine.files import PROJECT, write_atomic
from shared.strict import FROZEN

DATA = "docs/data/deployed.json"
_PATIENTS, _SEED, _ROUNDS = 100, 77, 3


class Deployed(BaseModel):
    """What was seen of one system's deployment.

    Attributes:
        system: which.
        date: of the run.
        n_patients: of each hospital.
        sites: that trained, and that were external.
        rounds: committed.
        epsilon: of training, as the plan says; null without privacy.
        run_epsilon: of everything that a patient who trains pays in the run.
        seconds: from the start of the run to its last round; intake and validation apart.
        measured: tables of measures that arrived, of those that were asked for.
        claims: of the recount, by verdict.
        refuted: what the recount refuted, in words.
    """

    model_config = FROZEN

    system: str
    date: str
    n_patients: int
    sites: tuple[int, int]
    rounds: int
    epsilon: float | None
    run_epsilon: float | None
    seconds: float
    measured: tuple[int, int]
    claims: dict[str, int]
    refuted: tuple[str, ...]


_DEPLOYED = TypeAdapter(tuple[Deployed, ...])


def systems_to_deploy(systems: Sequence[System]) -> Iterator[System]:
    """Every system of its own: one that another's first arm stands for is left out."""
    seen: set[tuple[str, ...]] = set()
    for system in systems:
        settings = system.arms[0].settings
        if not system.beside and settings not in seen:
            yield system
        seen.add(settings)


def deploy_system(system: System, *, work: Path) -> Deployed:
    """Deploy the first arm of a system on this machine, and recount what its ledgers say.

    Args:
        system: which.
        work: everything is written below it; hospitals are drawn once, a deployment begins anew.

    Raises:
        OsteoFedError: what stopped a step, under its own code.
    """
    folders = Folders(work / system.name)
    shutil.rmtree(folders.folder, ignore_errors=True)
    run_request(_request(system, work / "hospitals" / system.population.name), folders.folder)
    store = open_run(Home(folders.home).run_folder(RUN))
    ledgers = sorted((folders.folder / "ledgers").iterdir())
    return _seen(system, store, _recount(store, ledgers))


def read_deployed(root: Path = PROJECT) -> tuple[Deployed, ...]:
    """What is kept; nothing before the first deployment."""
    path = root / DATA
    return _DEPLOYED.validate_json(path.read_bytes()) if path.exists() else ()


def require_whole(found: Deployed) -> None:
    """Refuse a deployment that did not do what a real one must.

    Raises:
        RunError: a claim of its ledgers is refuted, or a table did not arrive.
    """
    n_arrived, n_asked = found.measured
    problems = [*found.refuted]
    if n_arrived < n_asked:
        problems.append(f"{n_arrived} of {n_asked} tables of measures arrived")
    if problems:
        raise RunError(
            "deployment-failed",
            f"{found.system} was deployed, and:\n" + "\n".join(f"  {each}" for each in problems),
            hint="docs/experiments.md shows it; the run lies below figures/work/experiments/deployed",
        )


def keep_deployed(new: Deployed, systems: Sequence[System], *, root: Path = PROJECT) -> None:
    """Keep a deployment in the place of an older one of the same system, in the systems' order."""
    kept = {each.system: each for each in (*read_deployed(root), new)}
    ordered = tuple(kept[system.name] for system in systems if system.name in kept)
    write_atomic(root / DATA, _DEPLOYED.dump_json(ordered, indent=1) + b"\n")


def deployed_section(found: Sequence[Deployed], systems: Sequence[System]) -> list[str]:
    """A table of the deployments, as lines of a page, and who has none; nothing before the first."""
    if not found:
        return []
    names = {each.system for each in found}
    waiting = [each.name for each in systems_to_deploy(systems) if each.name not in names]
    refuted = [f"- **{each.system}: {text}**" for each in found for text in each.refuted]
    return [
        "",
        "## Deployed",
        "",
        "Each system once as hospitals would run it, by `make experiments ARGS=--deployed`: a "
        "SuperLink with TLS and node keys, a SuperNode and an executor for each hospital as processes "
        f"of one machine, ε = {EPSILON:g} of a patient for training, then internal and external "
        "validation through each site's gate. A system that learns by gradients has "
        f"{_ROUNDS} rounds, others as many as they have sums. *run ε*: what a patient who trains "
        "pays in the whole run. *claims*: of `osteofed-auditor recount` over the ledgers and the "
        "run's folder: held, refuted, not examined (statements and outboxes are not handed over here).",
        "",
        "| system | hospitals | patients each | rounds | seconds | training ε | run ε | tables | "
        "claims |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {each.system} | {each.sites[0]} + {each.sites[1]} external | {each.n_patients} | "
            f"{each.rounds} | {each.seconds:.0f} | {_epsilon(each.epsilon)} | "
            f"{_epsilon(each.run_epsilon)} | {each.measured[0]} of {each.measured[1]} | "
            + ", ".join(str(each.claims.get(verdict, 0)) for verdict in ("pass", "fail", "not-run"))
            + " |"
            for each in found
        ),
        *(["", *refuted] if refuted else []),
        *(["", f"**Not deployed yet:** {', '.join(waiting)}."] if waiting else []),
    ]


def _request(system: System, folder: Path) -> Request:
    settings = [*system.arms[0].settings, f"privacy.epsilon={EPSILON:g}", "is_synthetic=true"]
    chosen = compose_settings(settings, cohort=system.population.cohort)
    few = [f"federation.rounds={_ROUNDS}"] if chosen.learner.kind == "gradient" else []

    def drawn(hospital: str) -> tuple[str, Path]:
        return draw_hospital(system.population, folder, hospital, seed=_SEED, n_patients=_PATIENTS)

    return Request(
        training=tuple(map(drawn, system.population.training)),
        external=tuple(map(drawn, system.population.external)),
        cohort=system.population.cohort,
        overrides=(*settings, *few, "engine=deployed", "federation.poll_s=0.05"),
        seed=_SEED,
    )


def _recount(store: RunStore, ledgers: Sequence[Path]) -> list[Finding]:
    evidence = gather_evidence(store.plan, ledgers=ledgers, run_folder=store.folder)
    return recount_findings(store.plan, evidence)


def _seen(system: System, store: RunStore, findings: Sequence[Finding]) -> Deployed:
    plan = store.plan
    answers = [answer for stage in plan.measured_now for answer in answers_to(store, stage)]
    verdicts = [finding.verdict for finding in findings]
    started, committed = store.times()
    return Deployed(
        system=system.name,
        date=datetime.now(UTC).date().isoformat(),
        n_patients=_PATIENTS,
        sites=(len(system.population.training), len(system.population.external)),
        rounds=store.training.last_committed().round,
        epsilon=plan.predicted.training_epsilon,
        run_epsilon=plan.predicted.dearest("training"),
        seconds=(max(committed.values()) - started).total_seconds(),
        measured=(
            sum(answer.status == MEASURED for answer in answers),
            sum(len(plan.asked(stage)) for stage in plan.measured_now),
        ),
        claims={verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))},
        refuted=tuple(f"{each.site}: {each.because}" for each in findings if each.verdict == "fail"),
    )


def _epsilon(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
