"""Logs hold whole lines: of several writers, and after a power cut."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shared.machine.files import append_line, read_lines

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("torn", [b"", b"tor", b"x" * 65_535, b"x" * 65_536, b"x" * 200_000])
@pytest.mark.parametrize("whole", [b"", b"one\n", b"one\n" + b"y" * 70_000 + b"\n"])
def test_a_line_is_never_glued_to_a_torn_one(tmp_path: Path, whole: bytes, torn: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(whole + torn)
    assert read_lines(path) == whole.splitlines()
    append_line(path, b"next\n")
    assert path.read_bytes() == whole + b"next\n"
    assert read_lines(path) == [*whole.splitlines(), b"next"]


def test_a_new_log_is_for_its_owner_only_and_an_absent_one_has_no_lines(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "logs" / "log") == []
    append_line(tmp_path / "logs" / "log", b"one\n")
    assert (tmp_path / "logs" / "log").stat().st_mode & 0o777 == 0o600


def test_no_line_of_several_writers_is_lost_or_mixed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    code = (
        "import sys; from pathlib import Path; from shared.machine.files import append_line\n"
        "for n in range(40): append_line(Path(sys.argv[1]), sys.argv[2].encode() * 5000 + b'\\n')"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(path), name], cwd=ROOT) for name in "abc"
    ]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    lines = read_lines(path)
    assert sorted(lines) == sorted(name.encode() * 5000 for name in "abc" for _ in range(40))
