"""How long a message is on its way over the declared link, and the deadline that follows.

Imports the settings.
"""

from __future__ import annotations

from shared.contract.settings import FederationSettings
from shared.errors import SettingsError

_MBIT, _HOUR_S = 1e6, 3600.0
_LEAST_S = 3600.0
# The way there and back is foretold by what is declared; computing comes besides.
_MARGIN = 2.0


def link_hours(messages: int, n_bytes: int, link: FederationSettings) -> float:
    """Hours that so many messages of ``n_bytes`` there and back take on the declared link."""
    return messages * (link.link_wait_h + 8 * n_bytes / (link.link_mbit_s * _MBIT) / _HOUR_S)


def deadline_of(federation: FederationSettings, *, n_bytes: int) -> float:
    """Seconds that a site has for its whole answer: as asked, else twice its way, an hour at least.

    Args:
        federation: names the link.
        n_bytes: of a message there and back.

    Raises:
        SettingsError: what was asked is over before a message has come and gone.
    """
    way_s = _HOUR_S * link_hours(1, n_bytes, federation)
    asked = federation.round_deadline_s
    if asked is None:
        return max(_LEAST_S, _MARGIN * way_s)
    if asked <= way_s:
        raise SettingsError(
            "deadline-below-link",
            f"federation.round_deadline_s must be more than the {way_s:g} s that a message of "
            f"{n_bytes / 1e6:.3g} MB is on its way by link_mbit_s and link_wait_h, not {asked:g}",
            hint="leave it null, which allows twice the way, or declare the link that sites have",
        )
    return asked
