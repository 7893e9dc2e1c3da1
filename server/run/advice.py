"""What to do next, from the codes of the sites: a table, of which the longest beginning counts.

`resume` is advised only where another answer may come. Imports the run store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from server.run.amendments import dropped_sites, required_sites
from server.run.events import AWAY, BACK, EXCLUDED, OF_ANSWERED
from server.run.folder import RunStore
from server.run.holder import holder_of
from shared.contract.stages import Stage, purpose_of


@dataclass(frozen=True)
class Advice:
    """What a site's code asks of people; ``is_final``: asked again, it would answer the same."""

    step: str
    is_final: bool = False


ADVICE: Mapping[str, Advice] = {
    "": Advice("docs/reference/codes.md says what its code means"),
    "engine.": Advice("its log says what went wrong there"),
    "ledger.": Advice("its ledger has to be restored from the newest copy"),
    "ledger.forked": Advice(
        "two copies of it have answered: find out which one is true", is_final=True
    ),
    "osteofed.disk-full": Advice("its disk is full: free some there"),
    "plan.": Advice("a person there has to settle what it makes of the plan"),
    "plan.expired": Advice("the plan's last day is over: write a new plan", is_final=True),
    "plan.not-approved": Advice("a person there approves the plan: `osteofed-site approve`"),
    "plan.other-code": Advice("install the plan's release of OsteoFed there, or write a new plan"),
    "policy.": Advice("a person there allows it in policy.yaml, or it is asked for less by a new plan"),
    "privacy.": Advice("it cannot release this; its log says why"),
    "privacy.budget-exhausted": Advice(
        "its patients' budget is spent, and stays so: write a plan that costs less", is_final=True
    ),
    "privacy.round-repeated": Advice(
        "it has answered this round to a newer copy of this home: restore that one", is_final=True
    ),
    "protocol.": Advice("its reply is not what was agreed: compare the installed releases"),
    "run.deadline-passed": Advice(
        "it may still be at work: wait; what it has paid for is kept there, and sent without a charge"
    ),
    "run.site-absent": Advice("start it, or see there why it does not reach the server"),
    "run.site-excluded": Advice(
        "it hung in rounds before and is not waited for: see there what it hangs on, and restart it"
    ),
    "run.site-offline": Advice("start it, or see there why it does not reach the server"),
    "run.site-dropped": Advice("it was dropped from this run", is_final=True),
    "run.torn-reply": Advice("it is asked again, and sends what it has stored without a charge"),
    "run.stopped": Advice("the run was stopped for good", is_final=True),
}


def advice_of(code: str) -> Advice:
    """What a code asks of people."""
    return ADVICE[max((start for start in ADVICE if code.startswith(start)), key=len)]


def next_step(store: RunStore, stage: Stage, codes: Mapping[str, str], *, needed: int = 0) -> str:
    """What to do so that a stage can go on, or that it cannot.

    Args:
        codes: by site that is missing.
        needed: sites below which the stage does not go on besides the required ones.
    """
    steps: dict[str, list[str]] = {}
    for site, code in codes.items():
        steps.setdefault(advice_of(code).step, []).append(site)
    told = "; ".join(f"{', '.join(sites)}: {step}" for step, sites in steps.items())
    final = {site for site, code in codes.items() if advice_of(code).is_final}
    lost = [site for site in required_sites(store, stage) if site in final]
    run = store.plan.run
    again = f"validate {run} {stage.name}" if purpose_of(stage) != "train" else f"resume {run}"
    if len(store.plan.asked(stage)) - len(final) < needed:
        then = "Too few sites are left, so that `resume` would end the same"
    elif lost:
        then = (
            f"The same would come again; `osteofed-coordinator drop-site {run} {lost[0]} --reason …` "
            "goes on without it, which release and report will name"
        )
    else:
        then = f"Then `osteofed-coordinator {again}` goes on"
    return f"{told}. {then}" if told else then


def how_far(store: RunStore) -> str:
    """What to do about a training that is not finished: wait while it is played, else by its sites."""
    by = holder_of(store, "stage") or holder_of(store, "command")
    if by:
        return f"it is being played ({by}): wait"
    stage = store.training.stage
    return next_step(store, stage, codes_since_commit(store))


def awaited(store: RunStore) -> tuple[str, ...]:
    """Sites of whose answer a training waits now, in roster order; nobody where none is played."""
    if store.plan.trained is None or not holder_of(store, "stage"):
        return ()
    training, dropped = store.training, dropped_sites(store)
    number = training.last_committed().round + 1
    if number > training.stage.rounds:
        return ()
    answered = training.journal(0).read(number)
    excluded = [site for site, code in codes_since_commit(store).items() if code == EXCLUDED]
    done = {*answered.accepted, *answered.rejected, *dropped, *excluded}
    return tuple(entry.site for entry in store.plan.asked(training.stage) if entry.site not in done)


def away(store: RunStore) -> tuple[str, ...]:
    """Those of ``awaited`` that are not connected, as far as whoever plays the run has seen."""
    last = {event.site: event.code for event in store.events() if event.code in (AWAY, BACK)}
    return tuple(site for site in awaited(store) if last.get(site) == AWAY)


def codes_since_commit(store: RunStore) -> dict[str, str]:
    """The last code of each site without an answer since the last committed round."""
    codes: dict[str, str] = {}
    for event in store.events():
        codes = {} if event.code == "round-committed" else codes
        if event.site and event.code not in OF_ANSWERED:
            codes[event.site] = event.code
    return codes
