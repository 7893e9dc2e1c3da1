"""Nothing is done without an explicit yes, or the code of what was shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from client.command.options import require_code, require_yes
from shared.errors import PolicyError

app = typer.Typer()


@app.command()
def ask(yes: bool = False) -> None:
    require_yes("Sure?", is_given=yes)


def code_of(answer: str, *options: str) -> str:
    error = CliRunner().invoke(app, list(options), input=answer).exception
    return error.code if isinstance(error, PolicyError) else ""


@pytest.mark.parametrize("answer", ["\n", "n\n", "N\n", "", "maybe\n"])
def test_anything_but_a_yes_is_a_no(answer: str) -> None:
    assert code_of(answer) == "policy.not-confirmed"


@pytest.mark.parametrize("answer", ["y\n", "yes\n", "Y\n"])
def test_a_yes_is_a_yes(answer: str) -> None:
    assert code_of(answer) == ""


def test_the_option_asks_nobody() -> None:
    assert code_of("", "--yes") == ""
    assert "Sure?" not in CliRunner().invoke(app, ["--yes"]).output


def test_the_question_does_not_mix_with_the_data(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [], input="y\n")
    assert done.stdout == ""
    assert "Sure? [y/N]" in done.stderr


@pytest.mark.parametrize(
    ("answer", "given", "code"),
    [
        ("", None, "policy.not-confirmed"),
        ("\n", None, "policy.not-confirmed"),
        ("y\n", None, "policy.other-code"),
        ("ab12cd34\n", None, ""),
        ("", " AB12CD34 ", ""),
        ("ab12cd34\n", "ab12cd35", "policy.other-code"),
        ("ab12cd34\n", "ab12", "policy.other-code"),
    ],
)
def test_a_code_is_that_of_what_was_shown_or_a_no(answer: str, given: str | None, code: str) -> None:
    coded = typer.Typer()

    @coded.command()
    def ask_code() -> None:
        require_code("Sure\x1b[2J?", code="ab12cd34", given=given)

    done = CliRunner().invoke(coded, [], input=answer)
    assert (done.exception.code if isinstance(done.exception, PolicyError) else "") == code
    assert "\x1b" not in done.output
