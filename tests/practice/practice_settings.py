"""Settings that were changed by hand, and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest

from shared.contract.settings import Settings, read_settings
from shared.errors import SettingsError


def changed(settings: Settings, **groups: dict[str, Any]) -> dict[str, Any]:
    """The content of settings with some values of some groups changed."""
    content = settings.model_dump()
    for name, values in groups.items():
        content[name] = content[name] | values
    return content


def refused(content: dict[str, Any]) -> str:
    """What is said of settings that are not valid."""
    with pytest.raises(SettingsError) as caught:
        read_settings(content)
    if caught.value.code != "settings.invalid":
        raise AssertionError(caught.value.code)
    return caught.value.fact
