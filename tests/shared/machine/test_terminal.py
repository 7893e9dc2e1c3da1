"""What a command prints: data on stdout, errors on stderr, and no patient in either."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from shared.errors import PlanError
from shared.machine.terminal import (
    command,
    format_cell,
    printable,
    progress,
    say,
    show_error,
    show_facts,
    show_json,
    show_table,
    show_text,
    when_stopped,
)
from shared.machine.unexpected import TRACEBACK


@command
def fail(error: Exception, *, as_json: bool = False) -> None:
    raise error


def failure(error: Exception, capfd: pytest.CaptureFixture[str], **options: bool) -> str:
    with pytest.raises(typer.Exit) as caught:
        fail(error, **options)
    assert caught.value.exit_code == 1
    shown = capfd.readouterr()
    return shown.out if options else shown.err


def test_an_expected_failure_is_fact_and_hint_and_exit_code_1(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = PlanError("changed", "plan [x] differs", hint="fetch it again")
    show_error(error, as_json=True)
    expected = {"error": "plan.changed", "fact": "plan [x] differs", "hint": "fetch it again"}
    assert json.loads(capfd.readouterr().out) == expected
    assert json.loads(failure(error, capfd, as_json=True)) == expected


def test_the_text_of_an_unexpected_failure_stays_inside(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TRACEBACK, raising=False)
    text = failure(ValueError("Mrs Canary, born 1950"), capfd, as_json=True)
    assert "Canary" not in text
    shown = json.loads(text)
    assert shown["error"] == "osteofed.internal"
    assert shown["fact"].startswith("ValueError in test_terminal.py, line ")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_and_no_path_of_it(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    full = OSError(number, os.strerror(number), "/films/Canary^Jane.dcm")
    shown = json.loads(failure(full, capfd, as_json=True))
    assert shown["error"] == "osteofed.disk-full"
    assert "Canary" not in str(shown)
    assert "run the same again" in shown["hint"]


def test_a_disk_that_is_really_full_is_such_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        Path("/dev/full").write_bytes(b"x")
    assert "osteofed.disk-full" in failure(caught.value, capfd, as_json=True)


def test_another_failure_of_a_file_is_no_full_disk(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TRACEBACK, raising=False)
    text = failure(PermissionError(errno.EACCES, "no", "x"), capfd, as_json=True)
    assert "osteofed.internal" in text


def test_who_asks_for_the_traceback_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACEBACK, "1")
    with pytest.raises(ValueError, match="inside"):
        fail(ValueError("inside"))


def test_what_typer_raises_passes_through() -> None:
    for error in (typer.Exit(3), typer.Abort(), typer.BadParameter("x")):
        with pytest.raises(type(error)):
            fail(error)


@command
@when_stopped("{folder} is kept")
def stop(*, folder: str) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_ends_with_130_and_a_line_that_says_what_is_kept(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit) as caught:
        stop(folder="simulation")
    assert caught.value.exit_code == 130
    assert capfd.readouterr() == ("", "stopped: simulation is kept\n")


def test_ctrl_c_ends_a_command_that_keeps_nothing_in_one_word(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit) as caught:
        fail(KeyboardInterrupt())  # type: ignore[arg-type]
    assert caught.value.exit_code == 130
    assert capfd.readouterr() == ("", "stopped\n")


def test_a_command_that_works_returns_its_value() -> None:
    assert command(lambda value: value + 1)(2) == 3


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.0, "0.000"), (1.23456, "1.235"), (7, "7"), (True, "True")]
)
def test_cells(value: object, text: str) -> None:
    assert format_cell(value) == text


def test_json_is_one_value(capfd: pytest.CaptureFixture[str]) -> None:
    show_json({"a": None})
    assert json.loads(capfd.readouterr().out) == {"a": None}


# Clears the screen, goes back to its top, runs backwards, joins invisibly, rings, is a half character.
HOSTILE = "\x1b[2J\x1b[H\x9b1mhip\u202e\u200d\x07\r\x7f\ud800"


@pytest.mark.parametrize(
    "print_it",
    [
        lambda text: show_error(PlanError("changed", text, hint=text)),
        lambda text: show_error(PlanError("changed", text), as_json=True),
        lambda text: show_json({text: text}),
        lambda text: show_table(text, [text], [[text]]),
        lambda text: show_facts(text, {text: text}),
        say,
        show_text,
        lambda text: progress(text).__enter__()(1, 1),
    ],
    ids=["error", "error as JSON", "JSON", "table", "facts", "say", "text", "progress"],
)
def test_no_control_or_format_character_of_outside_text_reaches_a_person(
    print_it: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    print_it(HOSTILE)
    shown = "".join(capfd.readouterr())
    assert "hip" in shown
    assert not set(HOSTILE) & set(shown) - set("[2JHm1hip")


def test_of_work_that_is_refused_no_bar_remains_above_the_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with progress("films") as advance:
        advance(2, 2)
    assert "films" in capfd.readouterr().err

    def refused() -> None:
        with progress("films") as advance:
            advance(1, 2)
            raise PlanError("changed", "no")

    with pytest.raises(PlanError):
        refused()
    assert capfd.readouterr().err.strip() == ""


def test_a_further_line_of_outside_text_cannot_pass_for_a_line_of_ours(
    capfd: pytest.CaptureFixture[str],
) -> None:
    lie = "hip\n  policy  allows it\nhint: approve it"
    show_facts("plan", {"task": lie, "policy": "forbids it"})
    shown = capfd.readouterr().out.splitlines()
    assert [line for line in shown if line.startswith("  policy")] == ["  policy  forbids it"]
    show_error(PlanError("changed", lie))
    assert "\nhint:" not in capfd.readouterr().err


def test_letters_of_every_script_and_wide_spaces_stay() -> None:
    for text in ("Röntgen ε ≤ 3", "骨密度", "عظم", "a\u00a0b", "two\nlines", "👩"):
        assert printable(text) == text
