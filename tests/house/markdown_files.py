"""What is in the project's Markdown: headings, links, and fenced blocks with the mark before them.

A block is marked by a comment in the line above it, which no forge shows:
``<!-- run: NAME -->`` is run by a test, blocks of one NAME one after the other in one folder;
``<!-- file: NAME PATH -->`` is written there as PATH, at its place among them;
``<!-- shows: NAME -->`` is what the blocks above it print, in these words, whatever the numbers.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from reference.markdown import slug

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^ *(`{3,}|~{3,})(\w*)")
_LINK = re.compile(r"\]\(<?([^()<>\s]+)>?(?:\s+\"[^\"]*\")?\)")


@dataclass(frozen=True)
class Block:
    """A fenced block. ``mark``: the comment in the line above, without its brackets; empty: none."""

    page: Path
    line: int
    language: str
    text: str
    mark: str

    @property
    def place(self) -> str:
        """Where a person finds it."""
        is_ours = self.page.is_relative_to(ROOT)
        return f"{self.page.relative_to(ROOT) if is_ours else self.page.name}:{self.line}"


@cache
def documents() -> tuple[Path, ...]:
    """Every Markdown file of the repository, those included that are not committed yet."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(ROOT / name for name in listed.stdout.split() if (ROOT / name).exists())


def manual() -> tuple[Path, ...]:
    """What tells people what to type: the README and everything under docs/."""
    return tuple(
        path for path in documents() if path == ROOT / "README.md" or ROOT / "docs" in path.parents
    )


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    fence, language, mark, before, first, held = "", "", "", "", 0, list[str]()
    for number, line in enumerate(page.read_text().splitlines(), 1):
        found = _FENCE.match(line)
        if fence and found and found[1].startswith(fence) and not found[2]:
            yield Block(page, first, language, "\n".join(held) + "\n", mark)
            fence = ""
        elif fence:
            held.append(line)
        elif found:
            fence, language, first, held = found[1], found[2], number, []
            comment = re.fullmatch(r"\s*<!-- (.+) -->\s*", before)
            mark = comment[1] if comment else ""
        before = line


@cache
def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    kept, fence = [], ""
    for line in page.read_text().splitlines():
        found = _FENCE.match(line)
        if found and (not fence or found[1].startswith(fence)):
            fence = "" if fence else found[1]
        elif not fence:
            kept.append(line)
    return "\n".join(kept)


def links(page: Path) -> list[str]:
    """Targets of the links and pictures of a page that lead to files or headings of this repository."""
    found = _LINK.findall(re.sub(r"`[^`\n]*`", "`", prose(page)))  # code holds no links
    return [target for target in found if not re.match(r"[a-z]+:", target)]


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings; a heading that comes again gets a number, as forges do."""
    found: dict[str, int] = {}
    names = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", prose(page)))
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", prose(page), flags=re.MULTILINE):
        name = slug(heading)
        names.add(f"{name}-{found[name]}" if name in found else name)
        found[name] = found.get(name, 0) + 1
    return frozenset(names)
