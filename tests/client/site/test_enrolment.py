"""A key that vouches for itself is compared with what a person was told."""

from __future__ import annotations

import pytest

from client.site.enrolment import require_same_key
from shared.errors import PlanError

KEY = "0123456789abcdef" * 4


@pytest.mark.parametrize("told", [KEY, KEY[:16], KEY.upper(), "0123 4567 89ab cdef 0123"])
def test_the_told_key_may_be_its_first_digits_in_any_spelling(told: str) -> None:
    require_same_key(KEY, told=told)


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ("", "plan.short-key"),
        (KEY[:15], "plan.short-key"),
        (KEY[1:], "plan.untold-key"),
        (KEY[:-1] + "0", "plan.untold-key"),
        (KEY + "0", "plan.untold-key"),
    ],
)
def test_another_key_or_too_little_of_it_is_refused(told: str, code: str) -> None:
    with pytest.raises(PlanError) as caught:
        require_same_key(KEY, told=told)
    assert caught.value.code == code
