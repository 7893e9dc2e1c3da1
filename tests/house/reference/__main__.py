"""Writes docs/reference: ``make docs``, or ``python -m reference`` with tests/house on the path."""

from __future__ import annotations

from reference.pages import FOLDER, reference


def main() -> None:
    """Write every page, and take away what is no page."""
    pages = reference()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in FOLDER.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
