"""Links of every Markdown file of the repository lead to files and headings that exist."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_files import ROOT, anchors, documents, links


def broken_links(page: Path) -> list[str]:
    """Links of a page to files that are not there, or to headings that their pages do not have."""
    found = []
    for target in links(page):
        name, _, anchor = target.partition("#")
        file = (page.parent / unquote(name)).resolve() if name else page
        is_known = not anchor or file.suffix != ".md" or anchor in anchors(file)
        if not file.exists() or not is_known:
            found.append(f"{page.name}: {target}")
    return found


@pytest.mark.parametrize("page", documents(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    assert broken_links(page) == []


def test_a_link_to_nowhere_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text(
        "# A `b` (c)\n\n## Twice\n\n## Twice\n\n```\n# no heading\n```\n"
    )
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md) [b](there.md#a-b-c) [c](there.md#twice-1) ![d](https://example.org/x.png)\n"
        "[e](gone.md) [f](there.md#no-heading) [g](#here)\n\n## Here\n\n`[h](code.md)`\n\n"
        "```md\n[i](fenced.md)\n```\n[`j`](there.md#twice-2) [k](<there.md>)\n"
    )
    assert broken_links(page) == [
        "page.md: gone.md",
        "page.md: there.md#no-heading",
        "page.md: there.md#twice-2",
    ]
