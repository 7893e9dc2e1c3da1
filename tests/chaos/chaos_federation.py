"""Three hospitals over tables and a coordinator on loopback, each by the commands that people type.

``elm`` and ``hop`` are required, ``fir`` is not. TLS, SQLite, node keys; no films, so that a round is
short. A federation stands for many runs, one for each row. Everything is in one folder:

    coordinator/  sites/NAME/      as in any federation
    told/RUN/                      what each command of a row said to its operator
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from chaos_processes import Found, end_all, matching
from chaos_proxy import Proxy
from table_federation import found_tables, table_settings, write_table

from client.site.folder import open_site
from server.engines.superlink import Deployment
from server.federation.folder import Home
from server.federation.plan import draft_plan, save_plan
from server.run.prepare import prepare
from shared.errors import OsteoFedError
from shared.machine.processes import free_port
from shared.privacy.ledger_format import LedgerRow

ROOT = Path(__file__).resolve().parents[2]
TRAIN = "train"
PATIENTS = {"elm": range(150), "fir": range(150, 300), "hop": range(300, 450)}
OPTIONAL = ("fir",)
# Patience that bears a minute without a site; a site trains for about a second.
SETTINGS: Mapping[str, object] = {
    "engine": "deployed",
    "federation.rounds": 3,
    "federation.local_steps": 40,
    "federation.learning_rate": 0.5,
    "federation.poll_s": 0.5,
    "federation.liveness_s": 150,
    "federation.round_deadline_s": 240,
    "federation.reply_quantum_s": 0,
}
# A hospital's patients take part in the runs of many rows.
POLICY = {"epsilon_lifetime": 200.0}
UP_S, COMMAND_S, CONDITION_S = 300.0, 600.0, 400.0
LOOK_EVERY_S, ASK_EVERY_S = 0.01, 0.5  # at files, and at a server that others use


class RowError(Exception):
    """A row could not be played as it is written: its fault did not happen."""


@dataclass(frozen=True)
class Ended:
    """How a command ended, as its operator saw it: a code, or ``finished``."""

    command: str
    code: str
    fact: str
    hint: str
    seconds: float


class Federation:
    """The parties, the run that they play now, and what was seen of its commands so far.

    Args:
        folder: everything lies below it; made here.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        for name, rows in PATIENTS.items():
            write_table(folder / "archives" / name / "clinical.csv", rows)
        archives = {name: folder / "archives" / name for name in PATIENTS}
        self.store, self.sites = found_tables(
            folder, archives, external=[], optional=OPTIONAL, overrides=_overrides({}), policy=POLICY
        )
        self.ended: list[Ended] = []
        self.died: list[str] = []
        self.mounted: list[Path] = []
        self._read: dict[str, tuple[bytes, list[LedgerRow]]] = {}  # ledgers, as they lay on disk
        self._typed: tuple[str, float, subprocess.Popen[bytes]] | None = None

    def begin(self, run: str, settings: Mapping[str, object]) -> None:
        """Write a plan and let every site approve it: the run that a row plays.

        Args:
            run: its name.
            settings: other than ``SETTINGS``.
        """
        home, now = Home(self.home), datetime.now(UTC)
        asked = table_settings(self.folder, _overrides(settings))
        key = home.key().public_hex
        save_plan(home, draft_plan(asked, home.active_sites(), run=run, coordinator_key=key, now=now))
        for folder in self.sites.values():
            approvals = open_site(folder).approvals
            read = approvals.import_plan(home.run_folder(run) / "plan.json")
            approvals.decide(read, "approved", by="Grace Hopper", now=now)
        self.store, self.ended, self.died = prepare(home, run), [], []

    @property
    def home(self) -> Path:
        """The coordinator's."""
        return self.folder / "coordinator"

    @cached_property
    def proxy(self) -> Proxy:
        """Stands between a site and the server once a site was started through it."""
        return Proxy(to=self.port)

    # parties that run until they are ended

    def serve(self) -> None:
        """Start the coordinator's server; return once it lets all sites in."""
        ports = ("--port", str(self.port), "--health", f"127.0.0.1:{free_port()}")
        words = ("serve", *ports, "--home", str(self.home))
        self._start("serve", "server", words)
        deployment = Deployment(self.home)
        wanted = {site: key.strip() for site, key in Home(self.home).node_keys().items()}
        self._await(
            lambda: deployment.is_running() and deployment.nodes.let_in == wanted,
            "a server",
            UP_S,
            every_s=ASK_EVERY_S,
        )

    def start(
        self, site: str, *, port: int | None = None, env: Mapping[str, str] = {}, program: str = ""
    ) -> None:
        """Start a site as its hospital does; it connects by itself.

        Args:
            port: to which it connects; None: the server's own.
            env: of its processes besides.
            program: that starts it in place of the command, a module beside this one.
        """
        folder = self.sites[site]
        words = (
            *("start", "--superlink", f"127.0.0.1:{port or self.port}", "--folder", str(folder)),
            *("--root-certificate", str(Deployment(self.home).authority)),
            *("--auth-key", str(folder / "keys" / "node.key")),
        )
        self._start(site, "client", words, env=env, program=program)

    # commands that end

    def type(self, *words: str, env: Mapping[str, str] = {}, program: str = "") -> None:
        """Type a command of the coordinator, which works on while others go on.

        Args:
            env: of its process besides.
            program: that is run in place of the command, a module beside this one.
        """
        if self._typed is not None:
            raise RowError(f"{self._typed[0]} has not ended")
        name = f"{len(self.ended) + 1}-{words[0]}"
        typed = (*words, "--home", str(self.home), "--json")
        process = self._start(name, "server", typed, env=env, program=program)
        self._typed = words[0], time.monotonic(), process

    def type_beside(self, *words: str) -> None:
        """Type a command in another terminal, and wait for its end.

        Raises:
            RowError: it does not succeed.
        """
        process = self._start(f"beside-{words[0]}", "server", (*words, "--home", str(self.home)))
        if process.wait(COMMAND_S):
            raise RowError(f"{words[0]} ended with {process.returncode}")

    def wait(self, *, ctrl_c: bool = False) -> Ended:
        """Wait for the command's end, or bring it about by Ctrl-C; keep what it told."""
        if self._typed is None:
            raise RowError("nothing was typed")
        command, since, process = self._typed
        if ctrl_c:
            process.send_signal(2)
        try:
            process.wait(COMMAND_S)
        except subprocess.TimeoutExpired:
            raise RowError(f"{command} took more than {COMMAND_S:g} s") from None
        told = (self._told / f"{len(self.ended) + 1}-{command}.txt").read_text()
        told = told.replace(str(self.folder), "…")
        answer = json.loads(told[told.index("{") :]) if "{" in told else {}
        other = "killed" if process.returncode < 0 else "stopped"
        code = "finished" if process.returncode == 0 else str(answer.get("error", other))
        self.ended.append(
            Ended(
                command,
                code,
                str(answer.get("fact", "")),
                str(answer.get("hint", "")),
                round(time.monotonic() - since, 1),
            )
        )
        self._typed = None
        return self.ended[-1]

    def is_at_work(self) -> bool:
        """Whether the command that was typed has not ended."""
        return self._typed is not None and self._typed[2].poll() is None

    def close(self) -> None:
        """End every process and take its small disks away."""
        end_all()
        for folder in self.mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)

    def until(self, what: str, is_so: Callable[[Federation], bool]) -> None:
        """Wait for something while a command works, looking every few milliseconds."""
        self._await(lambda: is_so(self), what, CONDITION_S)

    # processes

    def stand(self) -> None:
        """Let every party be there, with the server first: those that are not are started."""
        if not self.part("superlink"):
            self.serve()
        for site in self.sites:
            if not self.part("start", site):
                self.start(site)

    def part(self, name: str, site: str = "") -> list[Found]:
        """Processes of a party by the part that they play, parents first.

        Args:
            name: ``serve``, ``superlink``, ``coordinator-executor``, ``serverapp``, ``coordinator``,
                ``all``, or of a site ``supernode``, ``executor``, ``task``, ``start``, ``site``.
            site: of those that a site has.
        """
        home, folder = f"{self.home}", f"{self.sites[site]}" if site else ""
        if name == "task":  # an executor forks a loop, which forks a task
            forked = matching("client.node.executor", folder)
            parents = {each.pid: each.parent for each in forked}
            return [each for each in forked if parents.get(each.parent) in parents]
        words = {
            "serve": ("app() serve --port", home),
            "superlink": ("server.engines.gated", home),
            "coordinator-executor": ("flower-superexec", home),
            "serverapp": ("flwr-serverapp", home),
            "coordinator": (home,),
            "supernode": ("client.node.link", folder),
            "executor": ("client.node.executor", folder),
            "start": ("app() start --superlink", folder),
            "site": (folder,),
            "all": (str(self.folder),),
        }
        return matching(*words[name])

    # what lies on the parties' disks

    def rows(self, site: str) -> list[LedgerRow]:
        """A site's ledger so far, as far as it is written, of all runs."""
        path = self.sites[site] / "ledger" / "ledger.jsonl"
        data = path.read_bytes() if path.exists() else b""
        if self._read.get(site, (b"", []))[0] != data:
            lines = data.split(b"\n")[:-1]
            self._read[site] = data, [LedgerRow(**json.loads(line)["row"]) for line in lines]
        return self._read[site][1] if data else []

    def is_charged(self, site: str, number: int, stage: str = TRAIN) -> bool:
        """Whether a site has paid for a round."""
        return self._charge(site, number, stage) is not None

    def is_answered(self, site: str, number: int, stage: str = TRAIN) -> bool:
        """Whether what a site has paid for lies ready."""
        charge = self._charge(site, number, stage)
        return charge is not None and any(
            row.kind == "outcome" and row.charge_index == charge.index for row in self.rows(site)
        )

    def charges(self, site: str) -> list[LedgerRow]:
        """What a site has paid for in this run, oldest first."""
        plan = self.store.plan.sha256
        return [r for r in self.rows(site) if (r.kind, r.plan_sha256) == ("charge", plan)]

    def _charge(self, site: str, number: int, stage: str) -> LedgerRow | None:
        paid = self.charges(site)
        return next((row for row in paid if (row.stage, row.round) == (stage, number)), None)

    @property
    def _told(self) -> Path:
        folder = self.folder / "told" / self.store.plan.run
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _start(
        self,
        name: str,
        side: str,
        words: tuple[str, ...],
        *,
        env: Mapping[str, str] = {},
        program: str = "",
    ) -> subprocess.Popen[bytes]:
        code = f"from {program or f'{side}.command.app'} import app; app()"
        with (
            (self._told / f"{name}.txt").open("ab") as out,
            (self._told / f"{name}.err").open("ab") as err,
        ):
            return subprocess.Popen(
                [sys.executable, "-c", code, *words],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'chaos'}", **env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def _await(
        self,
        is_so: Callable[[], bool],
        what: str,
        limit_s: float,
        *,
        every_s: float = LOOK_EVERY_S,
    ) -> None:
        end = time.monotonic() + limit_s
        while True:
            try:
                if is_so():
                    return
            except (OSError, ValueError, KeyError, OsteoFedError):  # it is just being written
                pass
            if time.monotonic() > end:
                raise RowError(f"{what} did not come within {limit_s:g} s")
            time.sleep(every_s)


def _overrides(settings: Mapping[str, object]) -> list[str]:
    return [f"{name}={value}" for name, value in (SETTINGS | dict(settings)).items()]
