"""The pages of the reference, by file name: the one table that a new page is added to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reference.codes import codes_page
from reference.cohort_schema import cohort_schema_page
from reference.commands import commands_page
from reference.file_formats import file_formats_page, handed_over_page, plan_page
from reference.markdown import page, table
from reference.policy import policy_page
from reference.protocol import protocol_page
from reference.settings import settings_page
from reference.signed_bytes import signed_bytes_page
from reference.site import site_page
from reference.sums import sums_page

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "reference"
# Each page with what a reader finds on it.
_PAGES: dict[str, tuple[Callable[[], str], str]] = {
    "commands.md": (commands_page, "every command of the three programs, its options and exit codes"),
    "settings.md": (settings_page, "what a coordinator can ask for: every group, option and value"),
    "policy.md": (policy_page, "`policy.yaml`: what a hospital allows"),
    "site.md": (site_page, "`site.yaml`: how a hospital's table, films and scanner are to be read"),
    "cohort-schema.md": (cohort_schema_page, "the YAML that says what an exam is"),
    "codes.md": (codes_page, "every error, quarantine and event code, with what to do"),
    "plan.md": (plan_page, "`plan.json`: what a hospital approves"),
    "file-formats.md": (file_formats_page, "every file that is written, where and in which version"),
    "handed-over.md": (handed_over_page, "fields of the files that pass between the parties"),
    "protocol.md": (protocol_page, "messages between coordinator and site"),
    "signed-bytes.md": (signed_bytes_page, "what is hashed and signed, byte by byte, and test vectors"),
    "sums.md": (sums_page, "learners and measures: how long a sum is, how bounded a patient's row"),
}
_INTRODUCTION = (
    "Written from the code by `make docs`; a test fails where a page is not what the code says."
)


def reference() -> dict[str, str]:
    """Every page by its file's name, the index first."""
    rows = [(f"[{name}]({name})", told) for name, (_, told) in _PAGES.items()]
    index = page("Reference", _INTRODUCTION, table(("page", "holds"), rows))
    return {"README.md": index, **{name: write() for name, (write, _) in _PAGES.items()}}
