"""Two processes write one ledger and are killed at random instants.

``python ledger_writer.py FOLDER KILLS SEED`` imports what a writer needs, then forks writers, so that a
restart costs nothing. Prints one line of JSON: how many children a SIGKILL has ended, how many ended
otherwise, and how often the last line was torn then. A writer charges, then trains (leaves a mark),
then records the outcome; now and then its disk is slow, so that a kill can tear a line. Every third
writer reads the ledger afresh, as after a restart; the others take over what this process had read.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

from practice_site import clock

from client.gate.ledger import Charge, Ledger
from shared.errors import PrivacyError
from shared.privacy.events import GaussianEvent
from shared.privacy.filter import Allowance
from shared.signing.keys import load_key

SITE, N_GROUPS = "north", 200
EVENT = GaussianEvent(noise_multiplier=6.0)
CAP = Allowance(epsilon_lifetime=3.0, epsilon_per_run=50.0, delta=1e-5)
LONGEST_LIFE_S = 0.12


def members_of(group: int) -> list[str]:
    """Neighbouring groups share a patient."""
    return [f"patient-{group}", f"patient-{(group + 1) % N_GROUPS}"]


def mark_of(folder: Path, request: str) -> Path:
    """What a writer leaves once it has trained."""
    return folder / "trained" / request


def write_forever(folder: Path, ledger: Ledger, *, name: str, draw: random.Random) -> None:
    """Charge, train, record the outcome, over and over."""
    for number in range(10_000):
        request = f"{name}-{number}"
        # the first group is asked for far more often than its budget lasts
        group = 0 if draw.random() < 0.3 else draw.randrange(N_GROUPS)
        charge = Charge(
            charge_class="dp",
            event=EVENT,
            purpose="train",
            plan_sha256=request,
            run="run",
            stage="train",
            round=1,
            request_sha256=request,
        )
        try:
            ledger.charge(charge, members=members_of(group), allowance=CAP)
        except PrivacyError:
            continue
        mark_of(folder, request).touch()
        time.sleep(draw.random() * 0.004)
        ledger.record_outcome(request, status="released")


def make_disk_slow(draw: random.Random) -> None:
    """Every second write takes its time halfway."""
    write = os.write

    def write_in_two(descriptor: int, data: bytes) -> int:
        half = len(data) // 2 if draw.random() < 0.5 else 0
        written = write(descriptor, data[:half])
        time.sleep(0.004 if half else 0.0)
        return written + write(descriptor, data[half:])

    os.write = write_in_two


def start_writer(folder: Path, ledger: Ledger, *, number: int, seed: int) -> int:
    """Fork a writer; its process id."""
    child = os.fork()
    if child:
        return child
    try:
        draw = random.Random(f"{seed}-{number}")
        make_disk_slow(draw)
        own = open_ledger(folder) if number % 3 == 0 else ledger
        write_forever(folder, own, name=f"w{number}", draw=draw)
    except Exception:  # noqa: BLE001 - shown, then counted as a writer that ended
        traceback.print_exc()
    finally:
        os._exit(1)  # a writer ends by being killed, or the test counts it


def open_ledger(folder: Path) -> Ledger:
    """The ledger in a folder."""
    return Ledger(folder / "ledger", site=SITE, key=load_key(folder / "signing.pem"), clock=clock)


def is_torn(folder: Path) -> bool:
    """Whether the last line lacks its end though nobody is writing."""
    with (folder / "ledger" / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return not (folder / "ledger" / "ledger.jsonl").read_bytes().endswith(b"\n")


def kill(victim: int, *, other: int, folder: Path) -> tuple[int, bool]:
    """How a writer ended, and whether it tore a line; the other holds still for the look."""
    os.kill(other, signal.SIGSTOP)
    os.kill(victim, signal.SIGKILL)
    status = os.waitpid(victim, 0)[1]
    torn = is_torn(folder)
    os.kill(other, signal.SIGCONT)
    return status, torn


def main(folder: Path, n_kills: int, seed: int) -> dict[str, int]:
    """Kill ``n_kills`` writers one after another, and the last two."""
    draw = random.Random(seed)
    (folder / "trained").mkdir(exist_ok=True)
    ledger = open_ledger(folder)
    lives = [start_writer(folder, ledger, number=number, seed=seed) for number in range(2)]
    counted = {"killed": 0, "ended": 0, "torn": 0}
    for number in range(2, 2 + n_kills):
        time.sleep(draw.random() * LONGEST_LIFE_S)
        victim = lives.pop(draw.randrange(2))
        status, torn = kill(victim, other=lives[0], folder=folder)
        was_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        counted["killed" if was_killed else "ended"] += 1
        counted["torn"] += torn
        if number % 10 == 0:
            ledger.head()  # reads what the writers have written
        lives.append(start_writer(folder, ledger, number=number, seed=seed))
    for life in lives:
        os.kill(life, signal.SIGKILL)
        os.waitpid(life, 0)
    return counted


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))) + "\n")
