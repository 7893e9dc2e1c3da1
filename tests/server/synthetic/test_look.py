"""A look's frequencies are shares, and each has its meaning written down."""

from dataclasses import fields

import pytest

from server.synthetic.look import FilmLook


def test_every_frequency_is_a_share_and_the_bits_make_a_whole():
    look = FilmLook()
    shares = [getattr(look, field.name) for field in fields(look) if field.name != "bits"]
    assert len(shares) == 21
    assert all(0 < share < 1 for share in shares)
    assert sum(share for _, share in look.bits) == pytest.approx(1.0)


def test_every_frequency_says_what_it_means():
    documented = (FilmLook.__doc__ or "").split("Attributes:")[1]
    for field in fields(FilmLook):
        assert f"\n        {field.name}: " in documented
