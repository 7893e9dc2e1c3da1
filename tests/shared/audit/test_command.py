"""``osteofed-auditor`` as a person meets it: files in, findings out, exit codes for machines."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from handed_over import HandedOver
from typer.testing import CliRunner

from shared.audit.canary.records import audited_stage
from shared.audit.command import EXIT_CODES, app
from shared.privacy.register_format import RegisterRecord, write_register

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def recount(handed: HandedOver, out: Path, *more: object) -> Result:
    arguments: list[object] = ["recount", handed.plan_file, "--run", handed.run_folder, "--out", out]
    for name in ("elm", "fir", "hop"):
        arguments += ["--ledger", handed.ledger(name), "--statement", handed.statement(name)]
        arguments += ["--outbox", f"{name}={handed.outbox(name)}"]
    return run(*arguments, *more, "--json")


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, shared.audit.command as c\n"
        "try: c.app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'flwr', 'opacus', 'numpy', 'scipy', 'jinja2', 'dp_accounting'}\n"
        "sys.exit(len(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0


def test_every_command_is_in_the_manual() -> None:
    shown = run("--help").stdout
    commands = re.findall(r"^[│|] ([a-z]+) ", shown.split("Commands")[1], flags=re.MULTILINE)
    assert set(commands) >= {"recount", "conformance", "canary", "membership", "inversion", "report"}
    manual = (ROOT / "shared" / "audit" / "README.md").read_text()
    for name in commands:
        assert f"`{name}" in manual, name
    for code in EXIT_CODES.values():
        assert f"{code} " in manual


def test_an_audit_from_files_to_a_signed_page(made_run: HandedOver, tmp_path: Path) -> None:
    out = tmp_path / "findings"
    done = recount(made_run, out)
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["verdict"] == "pass"
    assert {each["site"] for each in said["findings"]} == {"elm", "fir", "hop"}
    assert made_run.plan.coordinator_key in done.stderr
    made = run("init", tmp_path / "auditor.pem", "--json")
    key = json.loads(made.stdout)["public key"]
    assert json.loads(run("init", tmp_path / "auditor.pem", "--json").stdout)["error"].endswith(
        "key-exists"
    )
    written = run(
        "report", out, "--key", tmp_path / "auditor.pem", "--out", tmp_path / "audit", "--json"
    )
    assert written.exit_code == 0, written.stderr
    facts = json.loads(written.stdout)
    partial = "partial: not used: conformance, canary, membership, inversion"
    assert (facts["verdict"], facts["scope"]) == ("pass", partial)
    data = facts["signed"]
    verified = run("verify", data, "--key", key, "--json")
    assert (verified.exit_code, json.loads(verified.stdout)["scope"]) == (0, partial)
    wrong = run("verify", data, "--key", made_run.plan.coordinator_key, "--json")
    assert (wrong.exit_code, json.loads(wrong.stdout)["error"]) == (1, "audit.signer-missing")


def test_a_refuted_claim_ends_with_code_3_and_a_refusal_with_1(
    handed: HandedOver, tmp_path: Path
) -> None:
    rows = handed.rows()
    place = next(row.index for row in rows if row.kind == "charge")
    forged = [replace(row, steps=5) if row.index == place else row for row in rows]
    handed.forge_ledger(forged)
    done = recount(handed, tmp_path)
    assert done.exit_code == 3
    assert json.loads(done.stdout)["verdict"] == "fail"
    assert json.loads((tmp_path / "recount.json").read_text())["findings"]
    stranger = recount(handed, tmp_path, "--coordinator-key", "0" * 64)
    assert (stranger.exit_code, json.loads(stranger.stdout)["error"]) == (1, "plan.changed")
    unpaired = recount(handed, tmp_path, "--site-key", "elm")
    assert (unpaired.exit_code, json.loads(unpaired.stdout)["error"]) == (1, "audit.not-a-pair")


def test_people_see_a_table_and_hints(made_run: HandedOver, tmp_path: Path) -> None:
    shown = run("recount", made_run.plan_file, "--ledger", made_run.ledger(), "--out", tmp_path)
    assert shown.exit_code == 0
    for words in ("verdict", "because", "no outbox was handed over", "recount of run cytology"):
        assert words in shown.stdout
    failed = run("verify", made_run.statement(), "--key", "0" * 64)
    assert failed.exit_code == 1
    assert "hint:" in failed.stderr
    page = run("verify", made_run.statement(), "--key", made_run.plan.entry("elm").public_key)
    assert "PRIVACY STATEMENT of site elm" in page.stdout


def register_of(handed: HandedOver, *, noise: float, seed: int = 3) -> RegisterRecord:
    """What a site would have recorded of 200 canaries, with a noise of its own choice."""
    stage, generator = audited_stage(handed.plan), np.random.default_rng(seed)
    coins = generator.random(200) < 0.5
    quiet = generator.normal(size=(2, 200)) * noise * stage.clip_norm
    return RegisterRecord(
        site="elm",
        plan_sha256=handed.plan.sha256,
        salt=bytes(32),
        coins=coins,
        sums=quiet - stage.clip_norm * coins,
        rounds=np.array([1, 2]),
        places=np.tile(np.arange(200), (2, 1)),
        length=200,
    )


def commit(handed: HandedOver, commitment: str, *, rounds: tuple[int, ...] = (1, 2)) -> None:
    """The site's ledger as it is when its charges name the coins."""
    handed.forge_ledger(
        [
            replace(row, canaries_sha256=commitment)
            if (row.kind, row.purpose) == ("charge", "train") and row.round in rounds
            else row
            for row in handed.rows()
        ]
    )


@pytest.mark.parametrize(("noise", "exit_code"), [(1.97, 0), (0.001, 3)])
def test_canaries_refute_noise_that_was_never_drawn(
    handed: HandedOver, tmp_path: Path, noise: float, exit_code: int
) -> None:
    record = register_of(handed, noise=noise)
    write_register(tmp_path / "register.npz", record)
    commit(handed, record.commitment)
    files = ["--register", tmp_path / "register.npz", "--ledger", handed.ledger()]
    done = run("canary", handed.plan_file, *files, "--out", tmp_path, "--json")
    assert done.exit_code == exit_code, done.stderr
    committed, bound = json.loads(done.stdout)["findings"]
    assert committed["verdict"] == "pass"
    assert "psilon is at most 2.99" in bound["claim"]


def test_coins_revealed_otherwise_than_committed_are_refuted(
    handed: HandedOver, tmp_path: Path
) -> None:
    record = register_of(handed, noise=1.97)
    write_register(tmp_path / "register.npz", record)
    files = ["--register", tmp_path / "register.npz", "--ledger", handed.ledger(), "--out", tmp_path]
    other = register_of(handed, noise=1.97, seed=4).commitment
    for commitment, rounds in (("", (1, 2)), (other, (1, 2)), (record.commitment, (2,))):
        commit(handed, "")
        commit(handed, commitment, rounds=rounds)
        done = run("canary", handed.plan_file, *files, "--json")
        assert done.exit_code == 3
        (finding,) = json.loads(done.stdout)["findings"]
        assert "do not name the revealed coins" in finding["because"]
    foreign = replace(record, plan_sha256="5" * 64)
    write_register(tmp_path / "register.npz", foreign)
    refused = run("canary", handed.plan_file, *files, "--json")
    assert (refused.exit_code, json.loads(refused.stdout)["error"]) == (1, "audit.foreign-register")


def test_inversion_and_membership_need_the_plan_alone(made_run: HandedOver, tmp_path: Path) -> None:
    for method in ("inversion", "membership"):
        done = run(method, made_run.plan_file, "--out", tmp_path, "--json")
        assert done.exit_code == 0, done.stderr
        said = json.loads(done.stdout)
        assert {each["site"] for each in said["findings"]} == {"public patients"}
        assert (tmp_path / f"{method}.json").exists()
