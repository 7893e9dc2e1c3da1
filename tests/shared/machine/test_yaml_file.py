"""YAML that people write: every mistake with its line, no exception of a parser."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from shared.machine.yaml_file import YamlMistakesError, load_yaml, read_yaml
from shared.strict import FROZEN


class Part(BaseModel):
    model_config = FROZEN

    name: str
    low: float = Field(ge=0)


class Written(BaseModel):
    model_config = FROZEN

    version: int
    words: tuple[str, ...] = ()
    fields: tuple[Part, ...] = ()


def mistakes(tmp_path: Path, text: str | bytes) -> list[str]:
    path = tmp_path / "written.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(YamlMistakesError) as caught:
        read_yaml(path, Written, whole="file")
    return str(caught.value).splitlines()


def test_what_is_valid_is_read(tmp_path: Path) -> None:
    path = tmp_path / "written.yaml"
    path.write_text("version: 1\nfields:\n  - {name: age, low: 1}\n")
    read = read_yaml(path, Written, whole="file")
    assert read == Written(version=1, fields=(Part(name="age", low=1),))
    assert load_yaml(path) == {"version": 1, "fields": [{"name": "age", "low": 1}]}


def test_every_mistake_has_its_name_line_and_column(tmp_path: Path) -> None:
    text = "version: one\nfields:\n  - name: age\n    low: -1\n  - {name: sex, lwo: 2, low: 1}\n"
    assert mistakes(tmp_path, text) == [
        "  version: Input should be a valid integer, unable to parse string as an integer "
        "(line 1, column 1)",
        "  fields.age.low: Input should be greater than or equal to 0 (line 4, column 5)",
        "  fields.sex.lwo: is not a setting; did you mean low? (line 5, column 17)",
    ]


def test_what_is_missing_is_missed_where_it_should_stand(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "words: [a]\nfields:\n  - name: age\n") == [
        "  version: Field required (line 1, column 1)",
        "  fields.age.low: Field required (line 3, column 5)",
    ]


def test_a_word_that_yaml_takes_for_something_else_is_to_be_quoted(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "version: 1\nwords: [yes, 12, 2020-01-02]\n")
    assert "quotes: YAML reads yes, no" in found[0]
    assert all("put it in quotes (line 2" in line for line in found[1:])
    assert len(found) == 3


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("version: [1\n", ["line 2, column 1", "needs quotes"]),
        ("version: 1\n\twords: []\n", ["line 2, column 1", "spaces, not with tabs"]),
        ("version: a: b\n", ["line 1, column 11", "needs quotes"]),
        ("version: @1\n", ["line 1, column 10", "needs quotes"]),
        ("version: 'one\n", ["line 2, column 1", "needs quotes"]),
        ("version: 1\nversion: 2\n", ["line 2, column 1", "version stands twice"]),
        ("fields:\n  - {name: a, name: b}\n", ["line 2, column 15", "name stands twice"]),
        ("version: !!python/object:os.system 1\n", ["line 1, column 10", "plain values only"]),
        ("version: *nobody\n", ["line 1, column 10", "needs quotes"]),
        ("? [a, b]\n: 1\n", ["line 1, column 3", "plain values only"]),
        ("version: 1\n---\nversion: 2\n", ["line 2, column 1"]),
        (b"version: \xff\xfe\n", ["UTF-8"]),
        ("version: 1\n".encode("utf-16"), ["it is not UTF-8; save it in that encoding"]),
        ("", ["empty"]),
        ("# only a remark\n", ["empty"]),
        ("[" * 3000, ["not YAML"]),
        ("just words\n", ["file: ", "line 1, column 1"]),
        ("- a\n- b\n", ["file: ", "line 1, column 1"]),
    ],
)
def test_what_is_no_yaml_is_told_in_a_persons_words(
    tmp_path: Path, text: str | bytes, parts: list[str]
) -> None:
    [line] = mistakes(tmp_path, text)
    for part in parts:
        assert part in line


def test_a_mark_that_an_editor_puts_before_utf_8_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "written.yaml"
    path.write_bytes(b"\xef\xbb\xbfversion: 1\n")
    assert load_yaml(path) == {"version": 1}


def test_a_file_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(YamlMistakesError, match="it cannot be read: "):
            load_yaml(path)


def test_every_key_that_stands_twice_is_named(tmp_path: Path) -> None:
    assert len(mistakes(tmp_path, "a: 1\na: 2\nb: {c: 1, c: 2}\n")) == 2
