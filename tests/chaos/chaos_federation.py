"""Three hospitals over tables and a coordinator on loopback, each by the commands that people type.

``elm`` and ``hop`` are required, ``fir`` is not. TLS, SQLite, node keys; no films, so that a round takes
seconds. Everything is in one folder:

    coordinator/  sites/NAME/      as in any federation
    told/NAME.txt                  what each command said to its operator
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from chaos_processes import Found, matching
from chaos_proxy import Proxy
from table_federation import found_tables, write_table

from server.engines.superlink import Deployment
from server.federation.folder import Home
from shared.errors import OsteoFedError
from shared.machine.processes import free_port
from shared.privacy.ledger_format import LedgerRow

ROOT = Path(__file__).resolve().parents[2]
RUN, TRAIN = "cytology", "train"
PATIENTS = {"elm": range(150), "fir": range(150, 300), "hop": range(300, 450)}
OPTIONAL = ("fir",)
# Patience that bears a minute without a site; a site trains for about a second.
SETTINGS: Mapping[str, object] = {
    "engine": "deployed",
    "federation.rounds": 3,
    "federation.local_steps": 40,
    "federation.learning_rate": 0.5,
    "federation.poll_s": 0.1,
    "federation.liveness_s": 150,
    "federation.round_deadline_s": 240,
}
UP_S, COMMAND_S, CONDITION_S, LOOK_EVERY_S = 120.0, 420.0, 240.0, 0.002


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


@dataclass
class Federation:
    """The parties of one row, and what was seen of its commands so far.

    Attributes:
        folder: everything lies below it.
        settings: of the plan, other than ``SETTINGS``.
    """

    folder: Path
    settings: Mapping[str, object] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)
    _typed: tuple[str, float, subprocess.Popen[bytes]] | None = None

    def __post_init__(self) -> None:
        for name, rows in PATIENTS.items():
            write_table(self.folder / "archives" / name / "clinical.csv", rows)
        self.store, self.sites = found_tables(
            self.folder,
            {name: self.folder / "archives" / name for name in PATIENTS},
            external=[],
            optional=OPTIONAL,
            overrides=[f"{name}={value}" for name, value in (SETTINGS | dict(self.settings)).items()],
        )
        self.port = free_port()
        self.told = self.folder / "told"
        self.told.mkdir()

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
        """Start the coordinator's server; return once it listens."""
        words = ("serve", "--port", str(self.port), "--home", str(self.home))
        self._start("serve", "server", words)
        deployment = Deployment(self.home)
        wanted = {site: key.strip() for site, key in Home(self.home).node_keys().items()}
        self._await(
            lambda: deployment.is_running() and deployment.nodes.let_in == wanted, "a server", UP_S
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

    def type(self, *words: str) -> None:
        """Type a command of the coordinator, which works on while others go on."""
        name = f"{len(self.ended) + 1}-{words[0]}"
        process = self._start(name, "server", (*words, "--home", str(self.home), "--json"))
        self._typed = words[0], time.monotonic(), process

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
        told = (self.told / f"{len(self.ended) + 1}-{command}.txt").read_text()
        answer = json.loads(told[told.index("{") :]) if "{" in told else {}
        code = "finished" if process.returncode == 0 else str(answer.get("error", "stopped"))
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

    def until(self, what: str, is_so: Callable[[Federation], bool]) -> None:
        """Wait for something while a command works, looking every two milliseconds."""
        self._await(lambda: is_so(self), what, CONDITION_S)

    # processes

    def part(self, name: str, site: str = "") -> list[Found]:
        """Processes of a party by the part that they play, parents first.

        Args:
            name: ``superlink``, ``serverapp``, ``coordinator``, ``all``, or of a site ``supernode``,
                ``executor``, ``task``, ``site``.
            site: of the four that a site has.
        """
        home, folder = f"{self.home}", f"{self.sites[site]}" if site else ""
        if name == "task":  # an executor forks a loop, which forks a task
            forked = matching("client.node.executor", folder)
            parents = {each.pid: each.parent for each in forked}
            return [each for each in forked if parents.get(each.parent) in parents]
        words = {
            "superlink": ("server.engines.gated", home),
            "serverapp": ("flwr-serverapp", home),
            "coordinator": (home,),
            "supernode": ("flower-supernode", folder),
            "executor": ("client.node.executor", folder),
            "site": (folder,),
            "all": (str(self.folder),),
        }
        return matching(*words[name])

    # what lies on the parties' disks

    def rows(self, site: str) -> list[LedgerRow]:
        """A site's ledger so far, as far as it is written."""
        path = self.sites[site] / "ledger" / "ledger.jsonl"
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        return [LedgerRow(**json.loads(line)["row"]) for line in lines]

    def is_charged(self, site: str, number: int, stage: str = TRAIN) -> bool:
        """Whether a site has paid for a round."""
        return self._charge(site, number, stage) is not None

    def is_answered(self, site: str, number: int, stage: str = TRAIN) -> bool:
        """Whether what a site has paid for lies ready."""
        charge = self._charge(site, number, stage)
        return charge is not None and any(
            row.kind == "outcome" and row.charge_index == charge.index for row in self.rows(site)
        )

    def _charge(self, site: str, number: int, stage: str) -> LedgerRow | None:
        asked = ("charge", stage, number)
        return next((r for r in self.rows(site) if (r.kind, r.stage, r.round) == asked), None)

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
        with (self.told / f"{name}.txt").open("ab") as out, (self.told / f"{name}.err").open("ab") as err:
            return subprocess.Popen(
                [sys.executable, "-c", code, *words],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'chaos'}", **env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def _await(self, is_so: Callable[[], bool], what: str, limit_s: float) -> None:
        end = time.monotonic() + limit_s
        while True:
            try:
                if is_so():
                    return
            except (OSError, ValueError, KeyError, OsteoFedError):  # it is just being written
                pass
            if time.monotonic() > end:
                raise RowError(f"{what} did not come within {limit_s:g} s")
            time.sleep(LOOK_EVERY_S)

