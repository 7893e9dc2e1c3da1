"""Commands as a person meets them: quick help, errors as fact and hint, exit code 1, no traceback."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
SIDES = {"server": "osteofed-coordinator", "client": "osteofed-site"}
COMMANDS = {
    "server": "server.command.app",
    "client": "client.command.app",
    "shared.audit": "shared.audit.command",
}


def run(side: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"from {COMMANDS[side]} import app; app()", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "COLUMNS": "150"},
    )


@pytest.mark.parametrize("side", SIDES)
def test_help_imports_neither_torch_nor_flwr_nor_pydicom(side: str) -> None:
    shown = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys, {COMMANDS[side]} as c\n"
            "try: c.app(['--help'])\n"
            "except SystemExit: pass\n"
            "heavy = {'torch', 'flwr', 'pydicom', 'opacus', 'hydra', 'matplotlib', 'numpy'}\n"
            "sys.exit(len(heavy & set(sys.modules)))",
        ],
        cwd=ROOT,
        capture_output=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )
    assert shown.returncode == 0, shown.stderr


@pytest.mark.parametrize(
    ("side", "arguments", "code"),
    [
        ("server", ["sites", "--home", "nowhere"], None),
        ("server", ["plan", "spring", "--home", "nowhere"], "run.no-coordinator"),
        ("server", ["status", "spring", "--home", "nowhere"], "run.unknown-run"),
        ("server", ["demo", "fusion=foo", "--folder", "unused"], "settings.invalid"),
        ("client", ["cohort", "--folder", "nowhere"], "intake.no-site"),
        ("client", ["ledger", "verify", "--folder", "nowhere"], "intake.no-site"),
        ("client", ["approve", "plan.json", "--by", "A B", "--folder", "nowhere"], "intake.no-site"),
    ],
)
def test_failures_end_with_code_1_and_a_code_for_machines(
    side: str, arguments: list[str], code: str | None, tmp_path: Path
) -> None:
    done = run(side, *arguments, "--json", cwd=tmp_path)
    assert "Traceback" not in done.stderr
    if code is None:
        assert done.returncode == 0
        return
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"] == code
    assert not (tmp_path / "unused").exists()


def test_a_failure_is_shown_to_people_as_fact_and_hint_on_stderr(tmp_path: Path) -> None:
    done = run("server", "demo", "privacy.epsilon=-3", "fusion=foo", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    for words in ("settings.invalid", "2 settings are not valid", "must be one of", "hint:"):
        assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unexpected_error_shows_its_place_and_never_its_text(tmp_path: Path) -> None:
    made = run("client", "init", "aster", "--declared-patients", "10", "--folder", "site", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    damaged = tmp_path / "site" / "outbox" / "outbox.jsonl"
    damaged.parent.mkdir()
    damaged.write_text('{"patient": "Mustermann"}\n')
    shown = run("client", "outbox", "--folder", "site", cwd=tmp_path)
    assert shown.returncode == 1
    assert "osteofed.internal" in shown.stderr
    assert "line" in shown.stderr
    for word in ("Mustermann", "Traceback", "locals"):
        assert word not in shown.stderr + shown.stdout


def take_in(site: Path, tables: Path) -> None:
    """The table of a synthetic hospital becomes a site's cohort, as its profile says."""
    assert run("server", "example", str(tables)).returncode == 0
    settings = yaml.safe_load((site / "site.yaml").read_text())
    settings["profile"] |= yaml.safe_load((tables / "aster.profile.yaml").read_text())
    (site / "site.yaml").write_text(yaml.safe_dump(settings))
    words = ("--table", str(tables / "aster.csv"), "--schema", "hip_table", "--folder", str(site))
    done = run("client", "ingest", *words)
    assert done.returncode == 0, done.stderr
    assert "film" not in done.stdout


def test_a_federation_is_founded_by_commands_alone(tmp_path: Path) -> None:
    home, site = str(tmp_path / "home"), str(tmp_path / "site")
    founded = json.loads(run("server", "init", "--home", home, "--json").stdout)
    made = run("client", "init", "aster", "--declared-patients", "100", "--folder", site)
    assert made.returncode == 0, made.stderr
    request = str(tmp_path / "site" / "join-request.json")
    key = json.loads(Path(request).read_bytes())["public_key"]
    assert run("server", "enrol", request, "--site-key", key, "--home", home).returncode == 0
    twice = run("server", "enrol", request, "--home", home, "--json")
    assert json.loads(twice.stdout)["error"] == "plan.already-enrolled"
    answer = str(tmp_path / "home" / "enrolments" / "aster.json")
    key = ("--coordinator-key", founded["public key"], "--folder", site)
    assert run("client", "join", answer, *key).returncode == 0
    listed = json.loads(run("server", "sites", "--home", home, "--json").stdout)
    assert [(entry["site"], entry["role"]) for entry in listed] == [("aster", "training")]
    assert run("server", "plan", "spring", "experiment=hip_table", "--home", home).returncode == 0
    for words in (("status",), ("pause",), ("stop", "--reason", "planned by mistake")):
        early = run("server", words[0], "spring", *words[1:], "--home", home, "--json")
        assert json.loads(early.stdout)["error"] == "run.not-launched"
    stranger = run("server", "launch", "spring", "--site", home, "--home", home, "--json")
    assert json.loads(stranger.stdout)["error"] == "run.no-site"
    plan = str(tmp_path / "home" / "runs" / "spring" / "plan.json")
    judged = json.loads(run("client", "plan", plan, "--folder", site, "--json").stdout)
    assert judged["policy"] == "allows it"
    coded = ("--code", judged["short code"], "--folder", site)
    early = run("client", "approve", plan, "--by", "Ada Lovelace", *coded, "--json")
    assert json.loads(early.stdout)["error"] == "plan.would-be-refused"
    take_in(tmp_path / "site", tmp_path / "tables")
    unnamed = run("client", "approve", plan, "--by", "Ada", *coded, "--json")
    assert json.loads(unnamed.stdout)["error"] == "plan.unnamed-approval"
    unsure = run("client", "approve", plan, "--by", "Ada Lovelace", "--folder", site, "--json")
    assert json.loads(unsure.stdout)["error"] == "policy.not-confirmed"
    named = run("client", "approve", plan, "--by", "Ada Lovelace", *coded)
    assert named.returncode == 0, named.stderr
    loud = ["privacy.epsilon=9", "experiment=hip_table", "--home", home]
    assert run("server", "plan", "summer", *loud).returncode == 0
    other = str(tmp_path / "home" / "runs" / "summer" / "plan.json")
    refused = run("client", "approve", other, "--by", "Ada Lovelace", "--folder", site, "--json")
    assert json.loads(refused.stdout)["error"] == "plan.forbidden-by-policy"
    changes = json.loads(run("client", "plan", other, "--folder", site, "--json").stdout)["changes"]
    assert any(name == "stages.0.noise_multipliers" for name, _, _ in changes)
    assert run("server", "revoke", "aster", "--home", home).returncode == 0
    unused = json.loads(run("client", "ledger", "verify", "--folder", site, "--json").stdout)
    assert unused["error"] == "ledger.nothing-charged"


@pytest.mark.parametrize("side", [*SIDES, "shared.audit"])
def test_help_says_what_every_argument_is(side: str) -> None:
    app = importlib.import_module(COMMANDS[side]).app
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    told = {
        name: [param.help for param in command.params if param.param_type_name == "argument"]
        for name, command in commands.items()
    }
    assert any(told.values())
    for name, helps in told.items():
        shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output
        for text in helps:
            assert text, f"{name}: an argument has no help"
            assert text in shown, name


@pytest.mark.parametrize(
    ("side", "arguments", "work", "words"),
    [
        (
            "server",
            ["simulate", "--folder", "try"],
            "server.simulation.simulate.run_request",
            "kept in try; the same command goes on there",
        ),
        (
            "server",
            ["demo", "--folder", "try"],
            "server.demo.play.play_demo",
            "try is kept to be looked at; the same command begins again",
        ),
        (
            "server",
            ["launch", "spring"],
            "server.run.prepare.prepare",
            "every committed round of run spring is kept; `osteofed-coordinator resume spring` goes on",
        ),
        (
            "server",
            ["validate", "spring", "internal"],
            "server.run.prepare.prepare",
            "the answers that came are kept",
        ),
        (
            "client",
            ["ingest", "archive"],
            "client.site.folder.open_site",
            "no cohort was changed; films that were read or fetched are kept",
        ),
    ],
)
def test_a_command_that_ctrl_c_stops_says_what_is_kept_and_how_to_go_on(
    side: str, arguments: list[str], work: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(work, stop)
    shown = CliRunner().invoke(importlib.import_module(COMMANDS[side]).app, arguments)
    assert shown.exit_code == 130
    (line,) = shown.stderr.splitlines()
    assert line.startswith("stopped: ")
    assert words in line
