"""What a page says to type works: its marked blocks are run, in order, by the installed programs."""

from __future__ import annotations

from pathlib import Path

import pytest
from markdown_files import manual
from page_runs import PageRun, play, runs_of

FOUNDING = """\
# Founding

<!-- run: founding -->
```sh
osteofed-coordinator init
export OSTEOFED_SITE=aster
osteofed-site init aster --declared-patients 120
```

Any text, and a block that is only shown:

```sh
osteofed-site start
```

<!-- file: founding words/hello.txt -->
```text
it's "as" $HOME `typed`
```

<!-- run: other -->
```sh
test ! -e aster
```

<!-- run: founding -->
```sh
key=$(sed -n 's/.*"public_key": "\\(.*\\)".*/\\1/p' aster/join-request.json)
osteofed-coordinator enrol aster/join-request.json --site-key "$key"   # a comment
echo y | osteofed-site join coordinator/enrolments/aster.json
cat words/hello.txt
```
"""


@pytest.mark.parametrize("run", runs_of(manual()), ids=str)
def test_what_a_page_says_to_type_works(run: PageRun, tmp_path: Path) -> None:
    ran = play(run, tmp_path)
    assert ran.code == 0, f"stopped at {ran.reached}\n{ran.output[-3000:]}"
    assert run.not_printed(ran.output) == [], ran.output[-3000:]


def page_of(folder: Path, text: str) -> list[PageRun]:
    page = folder / "page.md"
    page.write_text(text)
    return runs_of([page])


def test_blocks_of_one_name_are_run_in_order_in_one_shell_and_folder(tmp_path: Path) -> None:
    founding, other = page_of(tmp_path, FOUNDING)
    assert (str(founding), str(other)) == ("page-founding", "page-other")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    ran = play(founding, tmp_path / "a")
    assert ran.code == 0, ran.output
    assert 'it\'s "as" $HOME `typed`' in ran.output
    assert (tmp_path / "a" / "coordinator" / "sites.json").read_text().count("aster") == 1
    assert "coordinator_key: null" not in (tmp_path / "a" / "aster" / "site.yaml").read_text()
    assert play(other, tmp_path / "b").code == 0


@pytest.mark.parametrize(
    "text",
    ["osteofed-site join gone.json", "false\ntrue", "false | cat", "osteofed-site inti aster", "$X"],
)
def test_a_command_that_fails_stops_the_run_where_it_stands(tmp_path: Path, text: str) -> None:
    first = "<!-- run: a -->\n```sh\ntrue\n```\n\n"
    [run] = page_of(tmp_path, f"{first}<!-- run: a -->\n```sh\n{text}\ntouch reached\n```\n")
    ran = play(run, tmp_path)
    assert ran.code != 0
    assert ran.reached == "page.md:7"
    assert not (tmp_path / "reached").exists()


def test_what_a_page_starts_and_leaves_running_is_ended(tmp_path: Path) -> None:
    [run] = page_of(
        tmp_path, "<!-- run: a -->\n```sh\nsleep 300 >/dev/null 2>&1 &\necho $! > pid\n```\n"
    )
    assert play(run, tmp_path).code == 0
    status = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    assert not status.exists() or status.read_text().split()[2] in "ZX"


def test_what_a_page_shows_was_printed_in_these_words_whatever_the_numbers(tmp_path: Path) -> None:
    [run] = page_of(
        tmp_path,
        "<!-- run: a -->\n```sh\necho 'rows   301 of 301'; echo '  class  normal (at ≤ 0.6)'\n```\n\n"
        "<!-- shows: a -->\n```\nrows 7 of 9\n  class    osteopenia (at ≤ 0.6)\nrow 7 of 9\n```\n",
    )
    ran = play(run, tmp_path)
    assert ran.code == 0, ran.output
    assert run.not_printed(ran.output) == ["page.md:7: row 7 of 9"]
    assert run.not_printed("rows 1 of 1") == [
        "page.md:7:   class    osteopenia (at ≤ 0.6)",
        "page.md:7: row 7 of 9",
    ]


@pytest.mark.parametrize(
    "mark", ["run:", "run: two words", "file: name", "file: name two words", "shows:"]
)
def test_a_mark_that_marks_nothing_is_refused(tmp_path: Path, mark: str) -> None:
    with pytest.raises(ValueError, match="marks no run"):
        page_of(tmp_path, f"<!-- {mark} -->\n```sh\ntrue\n```\n")


def test_only_a_shells_commands_are_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"page\.md:2"):
        page_of(tmp_path, "<!-- run: a -->\n```python\npass\n```\n")
