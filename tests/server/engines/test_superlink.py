"""What a stage on the SuperLink has come to, as the command hears of it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import practice_federation as practice
import pytest

from server.engines import superlink
from server.engines.superlink import Deployment, submit_stage
from shared.errors import EngineError, OsteoFedError, PolicyError, WeightsError

Play = Callable[[dict[str, str]], None]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Plays a stage that ends with an outcome as soon as it is submitted."""
    store, _ = practice.found_federation(tmp_path)

    def play(outcome: dict[str, str]) -> None:
        def end(*_: object) -> dict[str, object]:
            file = store.folder / "outcome-train.json"
            assert not file.exists(), "an earlier try's outcome would be taken for this one's"
            file.write_text(json.dumps(outcome))
            return {"run-id": 1}

        monkeypatch.setattr(Deployment, "_flwr", end)
        Deployment(store.home).play(store, "train", timeout_s=20.0)

    return play


def test_a_finished_stage_returns(play: Play) -> None:
    play({"status": "finished", "code": "", "fact": "", "hint": ""})


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("weights.missing", WeightsError),
        ("policy.plan-forbidden", PolicyError),
        ("osteofed.internal", OsteoFedError),
    ],
)
def test_what_stopped_a_stage_keeps_its_code(play: Play, code: str, kind: type[OsteoFedError]) -> None:
    with pytest.raises(kind) as caught:
        play({"status": "stopped", "code": code, "fact": "it is gone", "hint": "look"})
    assert (caught.value.code, caught.value.fact, caught.value.hint) == (code, "it is gone", "look")


def test_a_stage_that_was_stopped_can_be_played_again_to_its_end(play: Play) -> None:
    stopped = {"status": "stopped", "code": "run.paused", "fact": "it was paused", "hint": ""}
    with pytest.raises(OsteoFedError, match="it was paused"):
        play(stopped)
    play(stopped | {"status": "finished"})


@pytest.fixture
def submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Plays a stage that leaves no outcome while Flower lists its run under a status."""
    store, _ = practice.found_federation(tmp_path)
    monkeypatch.setattr(superlink, "LIST_EVERY_S", 0.0)
    monkeypatch.setattr(superlink, "STATUS_EVERY_S", 0.01)

    def play(status: str) -> None:
        asked: list[str] = []

        def answer(_: Deployment, command: str, *__: str) -> dict[str, object]:
            asked.append(command)
            assert len(asked) < 500, "nobody looks at the clock"
            return {"run-id": 1, "runs": [{"status": status}]}

        monkeypatch.setattr(Deployment, "_flwr", answer)
        Deployment(store.home).play(store, "train", timeout_s=0.5)

    return play


@pytest.mark.parametrize("status", ["finished:failed", "finished:stopped", "finished"])
def test_a_run_that_flower_ended_without_an_outcome_is_not_waited_for(
    submitted: Callable[[str], None], status: str
) -> None:
    with pytest.raises(EngineError, match=f"as {status} without an outcome"):
        submitted(status)


def test_a_stage_that_goes_on_for_too_long_is_given_up(submitted: Callable[[str], None]) -> None:
    with pytest.raises(EngineError) as caught:
        submitted("running")
    assert caught.value.code == "engine.stage-timeout"


class Nodes:
    """Flower's answers to what is asked of its nodes, and what was asked."""

    def __init__(self) -> None:
        self.status: dict[str, str] = {}
        self.names: list[str] = []
        self.breaks_off = False

    def answer(self, _: Deployment, command: str, verb: str, *arguments: str) -> dict[str, object]:
        assert command == "supernode"
        if verb == "register":
            node = f"{len(self.status) + 1}"
            self.status[node] = "registered"
            self.names.append(arguments[-1])
            return {"node-id": int(node)}
        if verb == "list":
            return {"nodes": [{"node-id": n, "status": s} for n, s in self.status.items()]}
        if self.breaks_off:
            raise KeyboardInterrupt
        assert self.status[arguments[0]] == "registered", "Flower refuses it a second time"
        self.status[arguments[0]] = "unregistered"
        return {}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    nodes = Nodes()
    monkeypatch.setattr(Deployment, "_flwr", lambda *asked: nodes.answer(*asked))
    return nodes


def register(deployment: Deployment, site: str, key: str) -> None:
    file = deployment.home / f"{site}.pub"
    file.write_text(key)
    deployment.register(site, file)


def test_a_node_key_is_registered_once_and_a_new_one_of_the_site_takes_its_place(
    tmp_path: Path, nodes: Nodes
) -> None:
    deployment = Deployment(tmp_path)
    for key in ("first", "first", "second", "second"):
        register(deployment, "aster", key)
    register(deployment, "birch", "second")
    assert nodes.names == ["aster", "aster", "birch"]
    assert nodes.status == {"1": "unregistered", "2": "registered", "3": "registered"}


def test_a_revoked_site_is_locked_out_at_once_and_comes_back_under_a_new_key_only(
    tmp_path: Path, nodes: Nodes
) -> None:
    deployment = Deployment(tmp_path)
    deployment.shut_out("aster")
    assert nodes.status == {}, "who never was in is not locked out"
    for site in ("aster", "birch"):
        register(deployment, site, f"key of {site}")
    nodes.breaks_off = True
    with pytest.raises(KeyboardInterrupt):
        deployment.shut_out("aster")
    nodes.breaks_off = False
    deployment.shut_out("aster")
    deployment.shut_out("aster")
    assert nodes.status == {"1": "unregistered", "2": "registered"}
    assert set(deployment.registered()) == {"aster", "birch"}
    register(deployment, "aster", "a new key")
    assert nodes.status == {"1": "unregistered", "2": "registered", "3": "registered"}


def test_a_former_node_key_is_locked_out_even_where_that_was_cut_off(
    tmp_path: Path, nodes: Nodes
) -> None:
    deployment = Deployment(tmp_path)
    register(deployment, "aster", "first")
    nodes.breaks_off = True
    with pytest.raises(KeyboardInterrupt):
        register(deployment, "aster", "second")
    nodes.breaks_off = False
    register(deployment, "aster", "second")
    assert nodes.status == {"1": "unregistered", "2": "registered"}
    # Flower has done it, and it was not remembered
    memory = deployment.work / "registered.json"
    known = json.loads(memory.read_text())
    memory.write_text(json.dumps({"aster": known["aster"] | {"former": ["1"]}}))
    register(deployment, "aster", "second")
    assert json.loads(memory.read_text()) == known


def test_a_node_that_an_earlier_release_registered_is_kept_and_not_replaced_in_silence(
    tmp_path: Path, nodes: Nodes
) -> None:
    deployment = Deployment(tmp_path)
    deployment.work.mkdir(parents=True)
    (deployment.work / "registered.json").write_text(json.dumps({"aster": "first"}))
    register(deployment, "aster", "first")
    assert nodes.names == []
    with pytest.raises(EngineError, match="the former node key of aster cannot be taken back"):
        register(deployment, "aster", "second")
    assert nodes.names == []


class Started:
    """Processes that are only written down: what was to be started, in which order, and waited for."""

    def __init__(self) -> None:
        self.commands: dict[str, list[str]] = {}
        self.waits = 0

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def start(self, name: str, command: list[str], *, cwd: Path) -> None:
        assert cwd.is_dir()
        self.commands[name] = command

    def wait(self) -> None:
        self.waits += 1


def given(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    processes = Started()
    ports: list[int] = []

    def wait(port: int, given: object, *, timeout_s: float) -> None:
        assert given is processes
        assert timeout_s > 1
        ports.append(port)
        assert list(processes.commands) == ["superlink"], "the executor comes when its port is open"

    monkeypatch.setattr(superlink, "wait_for_port", wait)
    monkeypatch.setattr(Deployment, "processes", lambda _: processes)
    return processes


def test_a_superlink_knows_its_nodes_and_its_executor_and_trusts_nobody_else(
    tmp_path: Path, started: Started
) -> None:
    deployment = Deployment(tmp_path)
    deployment.start(started, host="10.0.0.5", port=9092, names=("127.0.0.1", "coordinator.example"))
    link, executor = started.commands["superlink"], started.commands["coordinator-executor"]
    assert (given(link, "--host"), given(link, "--port")) == ("10.0.0.5", "9092")
    assert "--enable-supernode-auth" in link
    assert "--disable-runtime-dependency-installation" in link
    assert given(link, "--isolation") == "process"
    assert given(link, "--database") == str(deployment.work / "superlink.sqlite")
    secret = Path(given(link, "--superexec-auth-secret-file"))
    assert secret.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(secret.read_text())) == 32
    # the executor speaks to it here, whatever address the sites use, by the authority they trust
    assert given(executor, "--runtime-api-address") == "127.0.0.1:9092"
    assert given(executor, "--superexec-auth-secret-file") == str(secret)
    assert given(executor, "--root-certificates") == given(link, "--ssl-ca-certfile")
    assert given(link, "--ssl-ca-certfile") == str(deployment.authority)
    assert "BEGIN CERTIFICATE" in Path(given(link, "--ssl-certfile")).read_text()
    assert "PRIVATE KEY" in Path(given(link, "--ssl-keyfile")).read_text()
    config = tomllib.loads((deployment.work / "flower" / "config.toml").read_text())
    assert config["superlink"] == {
        "default": superlink.CONNECTION,
        superlink.CONNECTION: {
            "address": "127.0.0.1:9092",
            "root-certificates": str(deployment.authority),
        },
    }


def test_a_superlinks_secret_is_new_whenever_it_starts(tmp_path: Path, started: Started) -> None:
    secrets = set()
    for _ in range(2):
        started.commands.clear()
        Deployment(tmp_path).start(started, host="127.0.0.1", port=9092, names=("127.0.0.1",))
        secrets.add((Deployment(tmp_path).work / "executor.secret").read_text())
    assert len(secrets) == 2


def test_serving_registers_every_enrolled_site_and_then_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: Started
) -> None:
    registered: dict[str, str] = {}

    def register(_: Deployment, site: str, public: Path) -> None:
        assert "coordinator-executor" in started.commands
        registered[site] = public.read_text()

    asked: list[Sequence[str]] = []
    plain = superlink.ensure_server_certificate

    def certify(folder: Path, *, hosts: Sequence[str], now: datetime) -> object:
        asked.append(hosts)
        return plain(folder, hosts=hosts, now=now)

    monkeypatch.setattr(Deployment, "register", register)
    monkeypatch.setattr(superlink, "ensure_server_certificate", certify)
    monkeypatch.setattr(superlink, "end_on_sigterm", lambda: None)
    superlink.serve(
        tmp_path,
        host="10.0.0.5",
        port=9092,
        names=("fl.example",),
        node_keys={"aster": "ssh-one", "birch": "ssh-two"},
    )
    assert registered == {"aster": "ssh-one\n", "birch": "ssh-two\n"}
    assert asked == [("127.0.0.1", "localhost", "fl.example")]
    assert started.waits == 1


@pytest.mark.parametrize("told", [{"success": False, "error-message": "no such run"}, {"runs": []}])
def test_what_flower_refuses_with_exit_code_0_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: dict[str, object]
) -> None:
    monkeypatch.setattr(superlink, "run_command", lambda *_, **__: json.dumps(told))
    with pytest.raises(EngineError, match=str(told.get("error-message", "no reason given"))) as caught:
        Deployment(tmp_path)._flwr("ls", "federation")
    assert caught.value.code == "engine.flower-refused"


def test_a_command_of_flower_is_asked_for_json_and_its_answer_returned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **_: object) -> str:
        asked.append(command[1:])
        return json.dumps({"success": True, "run-id": 7})

    monkeypatch.setattr(superlink, "run_command", run)
    assert Deployment(tmp_path)._flwr("ls", "federation")["run-id"] == 7
    assert asked == [["ls", "federation", "--format", "json"]]


def test_a_stage_is_submitted_with_its_run_folder_and_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = practice.found_federation(tmp_path)
    read: list[dict[str, str]] = []

    def submit(_: Deployment, *arguments: str) -> dict[str, object]:
        assert arguments[0] == "run"
        read.append(tomllib.loads(Path(arguments[-1]).read_text()))
        (store.folder / "outcome-internal.json").write_text(json.dumps({"status": "finished"}))
        return {"run-id": 1}

    monkeypatch.setattr(Deployment, "_flwr", submit)
    (Deployment(store.home).work / "flower").mkdir(parents=True)
    (Deployment(store.home).work / "flower" / "config.toml").write_text("")
    submit_stage(store, "internal")
    assert read == [{"run-folder": str(store.folder.resolve()), "stage": "internal"}]


def test_a_stage_is_not_waited_for_when_a_process_of_it_has_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = practice.found_federation(tmp_path)
    monkeypatch.setattr(Deployment, "_flwr", lambda *_: {"run-id": 1})

    def is_alive() -> None:
        raise EngineError("process-died", "superlink ended")

    with pytest.raises(EngineError, match="superlink ended"):
        Deployment(store.home).play(store, "train", timeout_s=5.0, is_alive=is_alive)


def test_a_stage_needs_a_superlink(tmp_path: Path) -> None:
    store, _ = practice.found_federation(tmp_path)
    with pytest.raises(EngineError) as caught:
        submit_stage(store, "train")
    assert caught.value.code == "engine.no-superlink"


def test_who_stops_waiting_for_a_stage_is_told_that_the_superlink_plays_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    store, _ = practice.found_federation(tmp_path)

    def stop(*_: object) -> dict[str, object]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Deployment, "_flwr", stop)
    (Deployment(store.home).work / "flower").mkdir(parents=True)
    (Deployment(store.home).work / "flower" / "config.toml").write_text("")
    with pytest.raises(KeyboardInterrupt):
        submit_stage(store, "train")
    told = capfd.readouterr().err
    assert f"`osteofed-coordinator pause {store.plan.run}` ends it before its next round" in told
