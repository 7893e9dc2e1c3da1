"""YAML files that people write: read, validated, and every mistake named with its line.

PyYAML takes the last of two equal keys and counts lines from 0; here a key may stand once, and lines
and columns count from 1. Values are not repeated. Imports ``strict``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from shared.strict import Place, list_mistakes

_Model = TypeVar("_Model", bound=BaseModel)


class YamlMistakesError(ValueError):
    """What is wrong in a file that a person wrote; its text has one indented line per mistake."""


def read_yaml(
    path: Path,
    model: type[_Model],
    *,
    whole: str,
    contradictions: Callable[[object], Iterable[str]] = lambda _: (),
) -> _Model:
    """Read a file and validate it.

    Args:
        path: the file, UTF-8.
        model: what it must be.
        whole: what the file is called where a mistake has no place of its own.
        contradictions: between parts of what the file holds, for a file whose parts are not all valid:
            the model's own validator is then not reached.

    Raises:
        YamlMistakesError: it is missing, no YAML, names a key twice, or is not valid.
    """
    node, content = _load(path)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        mistakes = list_mistakes(
            error,
            whole=whole,
            content=content,
            model=model,
            where=lambda place: f" ({_in_words(_mark(node, place))})",
        )
        if all(item["loc"] for item in error.errors(include_url=False, include_input=False)):
            mistakes += [f"  {whole}: {problem}" for problem in contradictions(content)]
        raise YamlMistakesError("\n".join(mistakes)) from None


def load_yaml(path: Path) -> object:
    """What a file holds, not validated.

    Raises:
        YamlMistakesError: it is missing, no YAML, or names a key twice.
    """
    return _load(path)[1]


def _load(path: Path) -> tuple[yaml.Node, object]:
    """A file's nodes, which know their lines, and what they mean."""
    try:
        loader = yaml.SafeLoader(path.read_bytes().decode("utf-8-sig"))
        node = loader.get_single_node()
        if node is None:
            raise YamlMistakesError("  the file is empty")
        twice = list(_named_twice(node))
        if twice:
            raise YamlMistakesError("\n".join(twice))
        return node, loader.construct_document(node)
    except OSError as error:
        raise YamlMistakesError(f"  it cannot be read: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        raise YamlMistakesError(_syntax_mistake(error)) from None
    except UnicodeDecodeError:
        raise YamlMistakesError("  it is not UTF-8; save it in that encoding") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, YamlMistakesError):
            raise
        raise YamlMistakesError(f"  it is not YAML: {type(error).__name__}") from None


def _syntax_mistake(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or "it is not YAML"
    hint = "text with : # , [ ] { } % @ * & or a quote needs quotes around it"
    if "\\t" in problem:
        hint = "indent with spaces, not with tabs"
    elif isinstance(error, yaml.constructor.ConstructorError):
        hint = "plain values only: text, numbers, true, false, null, lists, names with values"
    return f"  {_in_words(mark) if mark else 'the file'}: {problem}; {hint}"


def _named_twice(node: yaml.Node) -> Iterator[str]:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _named_twice(item)
    if isinstance(node, yaml.MappingNode):
        names: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in names:
                    yield f"  {_in_words(key.start_mark)}: {key.value} stands twice"
                names.add(key.value)
            yield from _named_twice(value)


def _mark(node: yaml.Node, place: Place) -> yaml.Mark:
    """Where a place is written, or what would hold it: a value's key, the start of a list's item."""
    mark = node.start_mark
    for part in place:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(part)]
            if not found:
                break
            key, node = found[0]
            mark = key.start_mark
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            mark = node.start_mark
        else:
            break
    return mark


def _in_words(mark: yaml.Mark) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"
