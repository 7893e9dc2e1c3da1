"""The faults, each a row: what is broken and when, and what was expected before it was first played.

Three hospitals of 100 declared patients, three rounds, a quorum of two; ``elm`` and ``hop`` are
required (in the first and the last round), ``fir`` is not. All parties are up when a row begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chaos_actions import (
    Step,
    answered,
    back_up,
    charged,
    committed,
    cut,
    die_at_each_step,
    ends,
    event,
    fill,
    free,
    freeze,
    kill,
    launch,
    mend,
    pause,
    released_without,
    restore,
    resume,
    revoke,
    seconds,
    serve,
    small_disk,
    start,
    start_by_line,
    start_otherwise,
    stop,
    stop_run,
    stop_server,
    thaw,
    unanswered,
    unreleased,
    validate,
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault.

    Attributes:
        name: by which it is asked for.
        fault: in words.
        expected: in words.
        steps: that play it.
        ends: how the commands must end: codes, or ``finished``; equal ones in a row count as one.
        missing: rounds in which a site may have, and has, no part.
        unused: training charges of a site that no committed round holds.
        events: codes that the run's events must tell.
        settings: of the plan, other than ``chaos_federation.SETTINGS``.
        is_last: its federation cannot play another row.
    """

    name: str
    fault: str
    expected: str
    steps: tuple[Step, ...]
    ends: tuple[str, ...] = ("finished",)
    missing: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    unused: Mapping[str, int] = field(default_factory=dict)
    events: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    is_last: bool = False


# Debian's libfaketime; a process that loads it has another time of day, and the same seconds.
AHEAD = {
    "LD_PRELOAD": "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "FAKETIME": "+8s",
    "FAKETIME_DONT_FAKE_MONOTONIC": "1",
}
BEHIND = AHEAD | {"FAKETIME": "-8s"}
EVERY = (1, 2, 3)

ROWS: tuple[Row, ...] = (
    Row(
        name="nothing",
        fault="none",
        expected="finished; every site has a part in every round",
        steps=(launch(), ends()),
    ),
    Row(
        name="supernode-before",
        fault="SIGKILL of a SuperNode before training: once round 1 is committed",
        expected="finished; the site is waited for and has its part in every round",
        steps=(launch(), committed(1), kill("supernode", "elm"), ends()),
    ),
    Row(
        name="supernode-during",
        fault="SIGKILL of a SuperNode during training: after the charge of round 2, before its answer",
        expected="finished; the site is waited for, and its charge pays for another attempt",
        steps=(
            *(launch(), charged("elm", 2), kill("supernode", "elm")),
            *(unanswered("elm", 2), ends()),
        ),
    ),
    Row(
        name="supernode-after",
        fault="SIGKILL of a SuperNode after training: once the answer of round 2 is stored",
        expected="finished; the stored answer is sent, and nothing is charged again",
        steps=(launch(), answered("elm", 2), kill("supernode", "elm"), ends()),
    ),
    Row(
        name="executor",
        fault="SIGKILL of a site's executor during training",
        expected="finished; the site is asked again in the same round and charged once",
        steps=(
            *(launch(), charged("elm", 2), kill("executor", "elm")),
            *(unanswered("elm", 2), ends()),
        ),
    ),
    Row(
        name="superlink",
        fault="SIGKILL of the SuperLink during training; `serve` is there",
        expected="finished: `serve` starts it again, and the run goes on",
        steps=(launch(), charged("elm", 2), kill("superlink"), ends()),
    ),
    Row(
        name="superlink-15",
        fault="SIGKILL of SuperLink and `serve` during training, back in 15 s",
        expected="pauses: executor and ServerApp end with `serve`, and the command says what to start; "
        "resumed, it finishes",
        steps=(
            *(launch(), charged("elm", 2), kill("superlink"), kill("serve"), seconds(15), serve()),
            *(ends(), resume(), ends()),
        ),
        ends=("engine.stage-failed", "finished"),
    ),
    Row(
        name="superlink-90",
        fault="SIGKILL of SuperLink and `serve` during training, back in 90 s",
        expected="pauses as after 15 s; resumed, it finishes",
        steps=(
            *(launch(), charged("elm", 2), kill("superlink"), kill("serve"), seconds(90), serve()),
            *(ends(), resume(), ends()),
        ),
        ends=("engine.stage-failed", "finished"),
    ),
    Row(
        name="serve",
        fault="SIGKILL of `serve` alone during training",
        expected="pauses: what it had started ends with it, and the command says so; served again on "
        "the same port and resumed, it finishes",
        steps=(*(launch(), charged("elm", 2), kill("serve"), ends(), serve(), resume(), ends()),),
        ends=("engine.stage-failed", "finished"),
    ),
    Row(
        name="coordinator-executor",
        fault="SIGKILL of the coordinator's executor during training; `serve` is there",
        expected="pauses: its ServerApp ends with it, and `serve` starts it again; resumed, "
        "it finishes",
        steps=(*(launch(), charged("elm", 2), kill("coordinator-executor"), ends(), resume(), ends()),),
        ends=("engine.stage-failed", "finished"),
    ),
    Row(
        name="start",
        fault="SIGKILL of a site's `start` alone during training; the hospital starts it again",
        expected="finished; SuperNode and executor end with it, the site is waited for, and its charge "
        "pays for another attempt",
        steps=(
            *(launch(), charged("elm", 2), kill("start", "elm"), unanswered("elm", 2)),
            *(start("elm"), ends()),
        ),
    ),
    Row(
        name="serverapp-commit",
        fault="SIGKILL of the ServerApp at each step of a round's commit, in round k at its step k; "
        "each time the operator resumes",
        expected="pauses each time; no round is lost or charged again, and at last it finishes",
        steps=(die_at_each_step(),),
        ends=("stopped", "finished"),
        settings={"federation.rounds": 8, "federation.local_steps": 1},
    ),
    Row(
        name="serverapp",
        fault="SIGKILL of the ServerApp while sites train",
        expected="pauses: the command says that the stage failed; resumed, it finishes",
        steps=(launch(), charged("elm", 2), kill("serverapp"), ends(), resume(), ends()),
        ends=("engine.stage-failed", "finished"),
    ),
    Row(
        name="everything",
        fault="SIGKILL of everything at once: server, run, command and all sites",
        expected="started again and resumed, it finishes; nothing is charged twice",
        steps=(
            *(launch(), charged("elm", 2), kill("all"), ends(), serve(), start("elm", "fir", "hop")),
            *(resume(), ends()),
        ),
        ends=("killed", "finished"),
    ),
    Row(
        name="validation",
        fault="SIGKILL of the ServerApp in a validation after training",
        expected="pauses: the command says that the stage failed; asked again, every site has its "
        "result at one charge",
        steps=(
            *(launch(), ends(), validate(), charged("elm", 1, "internal"), kill("serverapp"), ends()),
            *(validate(), ends()),
        ),
        ends=("finished", "engine.stage-failed", "finished"),
    ),
    Row(
        name="cut",
        fault="a site's line is cut for 80 s during training, by a proxy",
        expected="finished; the site's answer comes once the line is there again",
        steps=(
            *(stop("elm"), start_by_line("elm"), launch(), charged("elm", 2), cut(), seconds(80)),
            *(mend(), ends(), stop("elm")),
        ),
    ),
    Row(
        name="slow-line",
        fault="a site's line takes 500 ms there and back and loses 5 %: a proxy stalls one piece in "
        "twenty as long as TCP takes to send it again, and breaks a connection now and then, since a "
        "proxy loses no single packet",
        expected="finished; the site has its part in every round",
        steps=(
            *(stop("elm"), start_by_line("elm", delay_s=0.25, loses=0.05), launch(), ends()),
            stop("elm"),
        ),
    ),
    Row(
        name="disk-site",
        fault="a required site's disk is full for round 2 of 4 (a tmpfs of 64 MiB), and has room again "
        "after",
        expected="finished; the site pays nothing for round 2, has no part in it, and tells why",
        steps=(
            *(stop("elm"), small_disk("elm", mib=64), start("elm"), launch()),
            *(committed(1), fill("elm"), event("osteofed.disk-full"), free("elm"), ends()),
        ),
        missing={"elm": (2,)},
        events=("osteofed.disk-full",),
        settings={"federation.rounds": 4},
    ),
    Row(
        name="disk-coordinator",
        fault="the coordinator's disk fills while round 2 is trained (a tmpfs of 256 MiB)",
        expected="pauses: the command says which disk, how much is needed and what to do, and so does "
        "an event; with room and resumed, it finishes at no further charge",
        steps=(
            *(stop_server(), small_disk("coordinator", mib=256), serve(), launch()),
            *(charged("elm", 2), fill("coordinator"), ends(), free("coordinator"), resume(), ends()),
        ),
        ends=("run.disk-full", "finished"),
        events=("run.disk-full",),
    ),
    Row(
        name="clock",
        fault="a site's clock is 8 s ahead (libfaketime)",
        expected="finished without that site, which is not required; as a missing update in each round",
        steps=(*(stop("fir"), start_otherwise("fir", env=AHEAD), launch(), ends(), stop("fir")),),
        missing={"fir": EVERY},
        settings={"federation.liveness_s": 90},
    ),
    Row(
        name="clock-behind",
        fault="a site's clock is 8 s behind (libfaketime)",
        expected="finished; what it signs is some seconds old, as by a slow line, and it has its part "
        "in every round",
        steps=(*(stop("fir"), start_otherwise("fir", env=BEHIND), launch(), ends(), stop("fir")),),
        settings={"federation.liveness_s": 90},
    ),
    Row(
        name="hangs",
        fault="a site that is not required hangs in round 2 (SIGSTOP of its task), and is heard of",
        expected="finished; after the deadline of 120 s its update is missing",
        steps=(
            *(launch(), charged("fir", 2), freeze("task", "fir"), unanswered("fir", 2)),
            *(ends(), thaw("task", "fir")),
        ),
        missing={"fir": (2, 3)},
        unused={"fir": 1},
        events=("run.deadline-passed",),
        settings={"federation.round_deadline_s": 120},
    ),
    Row(
        name="excluded",
        fault="a site that is not required hangs from round 2 on and is well again in round 4, of 6",
        expected="finished; after two deadlines of 120 s the site is waited for no more, greeted in "
        "passing, and asked again from round 5 on; each of the two rounds has cost it a charge",
        steps=(
            *(launch(), charged("fir", 2), freeze("task", "fir"), unanswered("fir", 2)),
            *(event("run.site-excluded"), charged("elm", 4), freeze("task", "elm")),
            *(unanswered("elm", 4), thaw("task", "fir"), seconds(40), thaw("task", "elm"), ends()),
        ),
        missing={"fir": (2, 3, 4)},
        unused={"fir": 2},
        events=("run.deadline-passed", "run.site-excluded", "run.site-readmitted"),
        settings={"federation.rounds": 6, "federation.round_deadline_s": 120},
    ),
    Row(
        name="stopped",
        fault="the run is stopped for good while every site trains round 2, and the operator tries to "
        "resume it",
        expected="refused as stopped, both times; no site is charged for another round, and no release "
        "is made",
        steps=(
            *(launch(), *(charged(site, 2) for site in ("elm", "fir", "hop")), freeze("task", "elm")),
            *(unanswered("elm", 2), stop_run("the cohort was frozen by mistake"), ends()),
            *(thaw("task", "elm"), seconds(15), resume(), ends(), unreleased()),
        ),
        ends=("run.stopped",),
        unused={"elm": 1, "fir": 1, "hop": 1},
        events=("run.stopped",),
    ),
    Row(
        name="garbage",
        fault="a site answers with numbers that are none, truly signed",
        expected="finished; each of its updates is refused by a code, and none is in the release",
        steps=(
            *(stop("fir"), start_otherwise("fir", program="odd_site"), launch(), ends(), stop("fir")),
        ),
        missing={"fir": EVERY},
        unused={"fir": 3},
    ),
    Row(
        name="first-in-round-3",
        fault="a site that is not required is first there when the run, paused after round 2, goes on",
        expected="finished; it has its part in round 3",
        steps=(
            *(stop("fir"), launch(), charged("elm", 2), pause(), ends(), start("fir")),
            *(resume(), ends()),
        ),
        ends=("run.paused", "finished"),
        missing={"fir": (1, 2)},
        settings={"federation.liveness_s": 90},
    ),
    Row(
        name="revoked-in-round-3",
        fault="a site is revoked while it trains round 3",
        expected="finished without its part in round 3, without waiting for it; the release names it",
        steps=(
            *(launch(), charged("fir", 3), freeze("task", "fir")),
            *(unanswered("fir", 3), revoke("fir"), ends(), released_without("fir")),
        ),
        missing={"fir": (3,)},
        unused={"fir": 1},
        events=("run.site-dropped",),
        is_last=True,
    ),
    Row(
        name="older-home",
        fault="the coordinator is started from a copy of its folder that is two rounds old",
        expected="pauses: sites are ahead of this home; nobody pays for that; with the newer copy "
        "put back and the run resumed, it finishes",
        steps=(
            *(launch(), committed(1), back_up("older"), charged("elm", 3), pause(), ends()),
            *(kill("coordinator"), back_up("newer"), restore("older"), serve(), resume(), ends()),
            *(kill("coordinator"), restore("newer"), serve(), resume(), ends()),
        ),
        ends=("run.paused", "run.older-home", "finished"),
        settings={"federation.rounds": 4},
        is_last=True,
    ),
    Row(
        name="resume-while-training",
        fault="a required site trains longer than the round's deadline of 120 s; the run is resumed "
        "while it does",
        expected="pauses: the command says that the site may still be at work; resumed, it finishes at "
        "one charge a round",
        steps=(
            *(launch(), charged("elm", 1), freeze("task", "elm"), unanswered("elm", 1), ends()),
            *(resume(), seconds(30), thaw("task", "elm"), ends()),
        ),
        ends=("run.quorum-missed", "finished"),
        settings={"federation.round_deadline_s": 120},
    ),
)
