"""``policy.md``: what a hospital allows, from its model and the template of a new site."""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml
from reference.fields import setting_table, summary, value
from reference.markdown import fenced, page

from client.site.policy import PolicySettings, write_policy_template

_INTRODUCTION = (
    "`policy.yaml` lies in a site's folder and is written by the hospital. It is read afresh for every "
    "message; no coordinator can change it, and what it forbids does not run, whoever approved it. "
    "`osteofed-site init` writes the cautious file below; `osteofed-site plan FILE` says what it makes "
    "of a plan. The default here is what that file says."
)


def policy_page() -> str:
    """The page."""
    template = _template()
    said = {name: value(given) for name, given in yaml.safe_load(template).items()}
    return page(
        "policy.yaml",
        _INTRODUCTION,
        ["## Settings", "", summary(PolicySettings)],
        setting_table(PolicySettings, defaults=said),
        ["## As `init` writes it", *fenced(template, "yaml")],
    )


def _template() -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.yaml"
        write_policy_template(path)
        return path.read_text()
