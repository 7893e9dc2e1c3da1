"""What a stage on the SuperLink has come to, as the command hears of it."""

from __future__ import annotations

import json
import socket
import tomllib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import practice_federation as practice
import pytest

from server.engines import superlink
from server.engines.nodes import Nodes
from server.engines.superlink import Deployment, await_nodes, submit_stage
from server.run.holder import held
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
        monkeypatch.setattr(Deployment, "is_running", lambda _: True)
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
        monkeypatch.setattr(Deployment, "is_running", lambda _: True)
        Deployment(store.home).play(store, "train", timeout_s=0.5)

    return play


@pytest.mark.parametrize("status", ["finished:failed", "finished:stopped", "finished"])
def test_a_run_that_flower_ended_without_an_outcome_is_not_waited_for(
    submitted: Callable[[str], None], status: str
) -> None:
    with pytest.raises(EngineError, match=f"as {status} without an outcome") as caught:
        submitted(status)
    assert caught.value.code == "engine.stage-failed"
    assert "` goes on after the last committed round" in caught.value.hint


def test_a_stage_that_goes_on_for_too_long_is_given_up(submitted: Callable[[str], None]) -> None:
    with pytest.raises(EngineError) as caught:
        submitted("running")
    assert caught.value.code == "engine.stage-timeout"


class Going:
    """A server that answers, or is away, one look after another; then as at the last one."""

    def __init__(self, *looks: bool) -> None:
        self.looks = list(looks)

    def __call__(self) -> bool:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


def play_while(
    going: Going, home: Path, monkeypatch: pytest.MonkeyPatch, *, outcome: dict[str, str] | None = None
) -> int:
    """Play a stage while its server comes and goes; how often Flower listed the run."""
    store, _ = practice.found_federation(home)
    file, listed = store.folder / "outcome-train.json", 0
    for name, value in {"LIST_EVERY_S": -1.0, "STATUS_EVERY_S": 0.0, "AWAY_S": 0.2}.items():
        monkeypatch.setattr(superlink, name, value)

    def answer(_: Deployment, command: str, *__: str) -> dict[str, object]:
        nonlocal listed
        listed += command == "ls"
        if listed == 2 or (outcome and command == "run"):
            file.write_text(json.dumps(outcome or {"status": "finished"}))
        return {"run-id": 1, "runs": [{"status": "running"}]}

    monkeypatch.setattr(Deployment, "_flwr", answer)
    monkeypatch.setattr(Deployment, "is_running", lambda _: going())
    Deployment(store.home).play(store, "train", timeout_s=5.0)
    return listed


def test_a_server_that_is_away_for_a_while_stops_no_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert play_while(Going(True, False, False, False, True), tmp_path, monkeypatch) == 2


@pytest.mark.parametrize(
    ("looks", "is_borne"),
    [
        (["command-timeout", "command-timeout"], True),
        (["command-failed", "", "command-failed"], True),
        (["command-failed", "command-failed"], False),
    ],
)
def test_a_look_at_the_run_that_takes_too_long_is_no_end_of_it_nor_is_one_that_fails_but_two_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: list[str], is_borne: bool
) -> None:
    store, _ = practice.found_federation(tmp_path)
    monkeypatch.setattr(superlink, "LIST_EVERY_S", -1.0)
    monkeypatch.setattr(superlink, "STATUS_EVERY_S", 0.0)
    monkeypatch.setattr(Deployment, "is_running", lambda _: True)
    outcome = store.folder / "outcome-train.json"

    def answer(_: Deployment, command: str, *__: str) -> dict[str, object]:
        if command == "run":
            return {"run-id": 1}
        reason = looks.pop(0)
        if not looks:
            outcome.write_text(json.dumps({"status": "finished"}))
        if reason:
            raise EngineError(reason, "flwr is slow")
        return {"runs": [{"status": "running"}]}

    monkeypatch.setattr(Deployment, "_flwr", answer)
    if is_borne:
        Deployment(store.home).play(store, "train", timeout_s=5.0)
    else:
        with pytest.raises(EngineError, match="flwr is slow"):
            Deployment(store.home).play(store, "train", timeout_s=5.0)
    assert looks == []


@pytest.mark.parametrize(
    ("is_running", "hint"), [(True, "resume"), (False, "start `serve` again; then")]
)
def test_a_serverapp_that_has_died_is_noticed_by_its_lock_and_not_by_flowers_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_running: bool, hint: str
) -> None:
    store, _ = practice.found_federation(tmp_path)
    monkeypatch.setattr(superlink, "STATUS_EVERY_S", 0.0)
    asked: list[str] = []

    def answer(_: Deployment, command: str, *__: str) -> dict[str, object]:
        asked.append(command)
        return {"run-id": 1}

    monkeypatch.setattr(Deployment, "_flwr", answer)
    monkeypatch.setattr(Deployment, "is_running", lambda _: is_running)
    looks = 0

    with ExitStack() as stage:

        def look() -> None:
            nonlocal looks
            looks += 1
            if looks == 2:
                stage.enter_context(held(store, "stage", what="stage train"))
            if looks == 5:
                stage.close()

        with pytest.raises(EngineError, match="its ServerApp has ended without an outcome") as caught:
            Deployment(store.home).play(store, "train", timeout_s=5.0, is_alive=look)
    assert (looks, asked) == (5, ["run"])
    assert caught.value.code == "engine.stage-failed"
    assert hint in caught.value.hint


def test_a_run_whose_submission_took_too_long_may_be_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = practice.found_federation(tmp_path)

    def submit(*_: object) -> dict[str, object]:
        raise EngineError("command-timeout", "flwr run took more than 180 s")

    monkeypatch.setattr(Deployment, "_flwr", submit)
    (Deployment(store.home).work).mkdir()
    with pytest.raises(EngineError, match="flwr run took more than 180 s") as caught:
        Deployment(store.home).play(store, "internal", timeout_s=5.0)
    run = store.plan.run
    assert caught.value.code == "engine.command-timeout"
    assert f"`osteofed-coordinator status {run}` says whether it is played" in caught.value.hint
    assert f"`osteofed-coordinator validate {run} internal` again" in caught.value.hint


def test_a_server_that_stays_away_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError) as caught:
        play_while(Going(False), tmp_path, monkeypatch)
    assert caught.value.code == "engine.server-away"
    assert "start it again, then `resume`" in caught.value.hint


def test_what_a_serverapp_broke_by_without_its_server_is_that_it_was_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {"status": "stopped", "code": "osteofed.internal", "fact": "OSError in x", "hint": ""}
    with pytest.raises(EngineError) as caught:
        play_while(Going(False), tmp_path, monkeypatch, outcome=broken)
    assert caught.value.code == "engine.server-away"
    with pytest.raises(OsteoFedError, match="OSError in x"):
        play_while(Going(True), tmp_path / "there", monkeypatch, outcome=broken)


class Started:
    """Processes that are only written down: what was to be started, in which order."""

    def __init__(self) -> None:
        self.commands: dict[str, list[str]] = {}
        self.restarted: list[str] = []
        self.ended: set[str] = set()

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def start(self, name: str, command: list[str], *, cwd: Path) -> None:
        assert cwd.is_dir()
        self.commands[name] = command

    def restart(self, name: str) -> None:
        self.restarted.append(name)
        self.ended.discard(name)

    def has_ended(self, name: str) -> bool:
        return name in self.ended


def given(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    processes = Started()
    ports: list[int] = []

    def wait(port: int, given: object, *, timeout_s: float, only: str = "") -> None:
        assert given is processes
        assert timeout_s > 1
        ports.append(port)
        assert only == ("superlink" if processes.restarted else "")
        assert processes.restarted or list(processes.commands) == ["superlink"], (
            "the executor comes when its port is open"
        )

    monkeypatch.setattr(superlink, "wait_for_port", wait)
    monkeypatch.setattr(superlink, "require_free_port", lambda *_: None)
    monkeypatch.setattr(Deployment, "processes", lambda _: processes)
    return processes


def test_a_superlink_knows_its_nodes_and_its_executor_and_trusts_nobody_else(
    tmp_path: Path, started: Started
) -> None:
    deployment = Deployment(tmp_path)
    deployment.start(started, host="10.0.0.5", port=9092, names=("127.0.0.1", "coordinator.example"))
    link, executor = started.commands["superlink"], started.commands["coordinator-executor"]
    assert (given(link, "--host"), given(link, "--port")) == ("10.0.0.5", "9092")
    assert link[1:3] == ["-m", "server.engines.gated"]
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


class Registry:
    """The sites that are enrolled, second after second, until somebody presses Ctrl-C."""

    def __init__(self, *seconds: dict[str, str]) -> None:
        self.left = list(seconds)

    def __call__(self) -> dict[str, str]:
        if not self.left:
            raise KeyboardInterrupt
        return self.left.pop(0)


@pytest.fixture
def admitted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What a server is told to let in; sites whose key is ``broken`` are refused by Flower."""
    seen: list[dict[str, str]] = []

    def admit(_: Nodes, keys: dict[str, str]) -> None:
        seen.append(keys)
        if "broken" in keys.values():
            raise EngineError("flower-refused", "the key is none")

    monkeypatch.setattr(Nodes, "admit", admit)
    monkeypatch.setattr(superlink, "end_on_sigterm", lambda: None)
    monkeypatch.setattr(superlink, "FOLLOW_EVERY_S", 0.0)
    return seen


def serve(home: Path, *seconds: dict[str, str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        superlink.serve(
            home, host="10.0.0.5", port=9092, names=("fl.example",), node_keys=Registry(*seconds)
        )


@pytest.mark.parametrize(
    ("fleet", "own", "is_serving"),
    [(401, 200, True), (401, 503, False), (404, 200, False), (500, 200, False), (0, 0, False)],
)
def test_it_serves_where_its_routes_answer_and_the_sites_refuse_a_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fleet: int, own: int, is_serving: bool
) -> None:
    deployment = Deployment(tmp_path)
    assert not deployment.is_serving(), "it was never started"
    config = deployment.work / "flower" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[superlink.federation]\naddress = "127.0.0.1:9192"\n')

    def answers(url: str, *, authority: Path, body: bytes | None = None) -> int:
        assert authority == deployment.authority
        known = {"v1/fleet/pull-messages": fleet, "health": own}
        assert (body is None) == url.endswith("/health")
        return known[url.removeprefix("https://127.0.0.1:9192/")]

    monkeypatch.setattr(superlink, "answers", answers)
    assert deployment.is_serving() is is_serving


def test_a_server_follows_the_registry_while_it_runs_and_starts_nothing_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    started: Started,
    admitted: list[dict[str, str]],
) -> None:
    asked: list[Sequence[str]] = []
    plain = superlink.ensure_server_certificate

    def certify(folder: Path, *, hosts: Sequence[str], now: datetime) -> object:
        asked.append(hosts)
        return plain(folder, hosts=hosts, now=now)

    monkeypatch.setattr(superlink, "ensure_server_certificate", certify)
    one, both = {"aster": "ssh-one"}, {"aster": "ssh-one", "birch": "ssh-two"}
    serve(tmp_path, one, one, both, both, {"birch": "ssh-two"})
    assert admitted == [one, both, {"birch": "ssh-two"}]
    assert asked == [("127.0.0.1", "localhost", "fl.example")]
    assert list(started.commands) == ["superlink", "coordinator-executor"]


def test_a_renewed_certificate_starts_the_superlink_again_once_and_nothing_else(
    tmp_path: Path, started: Started, admitted: list[dict[str, str]]
) -> None:
    folder = Deployment(tmp_path).authority.parent

    class Renewing(Registry):
        def __call__(self) -> dict[str, str]:
            if len(self.left) == 2:
                superlink.ensure_server_certificate(
                    folder, hosts=("another.example",), now=datetime.now(UTC)
                )
            return super().__call__()

    with pytest.raises(KeyboardInterrupt):
        superlink.serve(
            tmp_path, host="10.0.0.5", port=9092, names=(), node_keys=Renewing({}, {}, {}, {})
        )
    assert started.restarted == ["superlink"]


def test_a_site_that_flower_refuses_stops_no_server_and_is_tried_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    started: Started,
    admitted: list[dict[str, str]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    broken = {"aster": "broken"}
    serve(tmp_path, broken, broken)
    assert admitted == [broken]
    assert "engine.flower-refused: the key is none" in capfd.readouterr().err
    monkeypatch.setattr(superlink, "RETRY_S", 0.0)
    started.commands.clear()
    serve(tmp_path, broken, broken, {})
    assert admitted[1:] == [broken, broken, {}]


def test_a_superlink_that_has_ended_is_started_again_alone_and_the_server_says_so(
    tmp_path: Path,
    started: Started,
    admitted: list[dict[str, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    started.ended = {"superlink"}
    serve(tmp_path, {}, {}, {"aster": "ssh-one"})
    assert started.restarted == ["superlink"], "once"
    assert "started again: it had ended by itself" in capsys.readouterr().err
    assert admitted == [{}, {"aster": "ssh-one"}], "it goes on as before"


def test_an_executor_that_has_ended_is_started_again_and_not_every_second(
    tmp_path: Path, started: Started, admitted: list[dict[str, str]]
) -> None:
    class Failing(Registry):
        def __call__(self) -> dict[str, str]:
            started.ended = {"coordinator-executor"}
            return super().__call__()

    for node_keys, times in ((Registry({}, {}), 1), (Failing({}, {}, {}), 1)):
        started.ended, started.restarted = {"coordinator-executor"}, []
        started.commands.clear()
        with pytest.raises(KeyboardInterrupt):
            superlink.serve(tmp_path, host="127.0.0.1", port=9092, names=(), node_keys=node_keys)
        assert started.restarted == ["coordinator-executor"] * times


def remembered(deployment: Deployment, **sites: dict[str, object]) -> None:
    deployment.work.mkdir(parents=True, exist_ok=True)
    (deployment.work / "registered.json").write_text(json.dumps(sites))


def test_who_changes_the_registry_waits_until_a_server_that_runs_has_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = Deployment(tmp_path)
    aster = {"key": "ssh-one", "node": "1", "former": []}
    remembered(deployment, aster=aster, birch={"key": "", "node": None, "former": ["2"]})
    assert not await_nodes(tmp_path, {"aster": "ssh-one"}), "no server runs"
    monkeypatch.setattr(superlink, "STATUS_EVERY_S", 0.01)
    monkeypatch.setattr(superlink, "COMMAND_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        (deployment.work / "flower").mkdir()
        config = f'[superlink.{superlink.CONNECTION}]\naddress = "{address}"\n'
        (deployment.work / "flower" / "config.toml").write_text(config)
        with pytest.raises(EngineError) as caught:
            await_nodes(tmp_path, {"aster": "ssh-one"})
        assert caught.value.code == "engine.nodes-not-followed"
        remembered(deployment, aster=aster)
        assert await_nodes(tmp_path, {"aster": "ssh-one\n"})
    assert not await_nodes(tmp_path, {"aster": "ssh-one"}), "it has ended"


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


def test_a_stage_on_a_server_whose_certificate_has_ended_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = practice.found_federation(tmp_path)
    deployment = Deployment(store.home)
    (deployment.work / "flower").mkdir(parents=True)
    (deployment.work / "flower" / "config.toml").write_text("")
    monkeypatch.setattr(Deployment, "play", lambda *_: None)
    past = datetime.now(UTC) - timedelta(days=364)
    superlink.ensure_server_certificate(deployment.authority.parent, hosts=("localhost",), now=past)
    submit_stage(store, "train")
    (deployment.authority.parent / "server.pem").unlink()
    superlink.ensure_server_certificate(
        deployment.authority.parent, hosts=("localhost",), now=past - timedelta(days=2)
    )
    with pytest.raises(EngineError, match=r"certificate server\.pem ended on") as caught:
        submit_stage(store, "train")
    assert caught.value.code == "engine.certificate-expired"


@pytest.mark.parametrize(
    ("stopped", "code"),
    [
        (EngineError("command-failed", "flwr ls ended with 1"), "engine.certificate-expired"),
        (OsteoFedError("internal", "ConnectError in x"), "engine.certificate-expired"),
        (PolicyError("plan-forbidden", "a site says no"), "policy.plan-forbidden"),
    ],
)
def test_a_certificate_that_ends_while_a_stage_is_played_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: OsteoFedError, code: str
) -> None:
    store, _ = practice.found_federation(tmp_path)
    deployment = Deployment(store.home)
    (deployment.work / "flower").mkdir(parents=True)
    (deployment.work / "flower" / "config.toml").write_text("")
    certificates = deployment.authority.parent
    superlink.ensure_server_certificate(certificates, hosts=("localhost",), now=datetime.now(UTC))

    def play(*_: object) -> None:
        (certificates / "server.pem").unlink()
        past = datetime.now(UTC) - timedelta(days=366)
        superlink.ensure_server_certificate(certificates, hosts=("localhost",), now=past)
        raise stopped

    monkeypatch.setattr(Deployment, "play", play)
    with pytest.raises(OsteoFedError) as caught:
        submit_stage(store, "train")
    assert caught.value.code == code


def test_a_server_warns_at_its_start_and_once_a_day(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    started: Started,
    admitted: list[dict[str, str]],
) -> None:
    warnings: list[float] = []
    for every_s, expected in ((1000.0, 1), (-1.0, 4)):
        monkeypatch.setattr(superlink, "WARN_EVERY_S", every_s)
        started.commands.clear()
        warnings.clear()
        with pytest.raises(KeyboardInterrupt):
            superlink.serve(
                tmp_path,
                host="127.0.0.1",
                port=9092,
                names=(),
                node_keys=Registry({}, {}),
                warn=lambda: warnings.append(0.0),
            )
        assert len(warnings) == expected


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
    assert f"`osteofed-coordinator pause {store.plan.run}` stops it before its next round" in told
