"""The noise is standard normal, independent, never repeated, and leaves no trace in the floats."""

from __future__ import annotations

import math
import os

import pytest
import torch
from scipy import stats

from shared.privacy.noise import NoiseStream, add_gaussian_noise

N = 1_000_000


@pytest.fixture(scope="module")
def normals() -> torch.Tensor:
    return NoiseStream()(N)


def test_a_million_draws_have_the_moments_of_a_standard_normal(normals: torch.Tensor) -> None:
    # five standard errors: mean 1/√n, variance √(2/n), skewness √(6/n), excess kurtosis √(24/n)
    assert abs(float(normals.mean())) < 5 / math.sqrt(N)
    variance = float(normals.var())
    assert abs(variance - 1) < 5 * math.sqrt(2 / N)
    standard = (normals - normals.mean()) / math.sqrt(variance)
    assert abs(float((standard**3).mean())) < 5 * math.sqrt(6 / N)
    assert abs(float((standard**4).mean()) - 3) < 5 * math.sqrt(24 / N)


def test_a_million_draws_follow_the_normal_distribution(normals: torch.Tensor) -> None:
    # a correct stream fails this once in 100,000 runs
    assert stats.kstest(normals.numpy(), "norm").pvalue > 1e-5


@pytest.mark.parametrize("lag", [1, 2, 1 << 14, N // 2])
def test_draws_are_uncorrelated_also_between_the_halves_of_a_pair(
    normals: torch.Tensor, lag: int
) -> None:
    first, second = normals[:-lag], normals[lag:]
    for one, two in ((first, second), (first**2 - 1, second**2 - 1)):
        correlation = float((one * two).mean() / (one.std() * two.std()))
        assert abs(correlation) < 5 / math.sqrt(len(first))


def test_two_streams_and_two_calls_share_no_value() -> None:
    stream = NoiseStream()
    draws = torch.cat([stream(1000), stream(1000), NoiseStream()(1000)])
    assert len(draws.unique()) == 3000


def test_a_forked_process_takes_a_fresh_key() -> None:
    stream = NoiseStream()
    stream(10)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write_end, stream.uniforms(8).numpy().tobytes())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    theirs = torch.frombuffer(bytearray(os.read(read_end, 64)), dtype=torch.float64)
    assert not set(theirs.tolist()) & set(stream.uniforms(8).tolist())


def test_the_stream_takes_a_fresh_key_before_the_counter_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.privacy.noise._MAXIMUM_BYTES_PER_KEY", 80)
    stream = NoiseStream()
    before = stream._cipher
    stream(10)
    assert stream._cipher is before
    stream(2)
    assert stream._cipher is not before


@pytest.mark.parametrize("n", [0, 1, 2, 7, (1 << 15) + 1])
def test_any_number_of_draws_comes_out_finite(n: int) -> None:
    drawn = NoiseStream()(n)
    assert drawn.shape == (n,)
    assert torch.isfinite(drawn).all()


def test_noise_has_the_promised_standard_deviation() -> None:
    noised = add_gaussian_noise(
        torch.full((200_000,), 7.0), sensitivity=0.5, noise_multiplier=4.0, draw_normals=NoiseStream()
    )
    # 5 standard errors of a standard deviation of 2
    assert abs(float(noised.std()) - 2.0) < 5 * 2.0 / math.sqrt(2 * 200_000)
    assert abs(float(noised.mean()) - 7.0) < 5 * 2.0 / math.sqrt(200_000)


def test_the_floats_that_come_out_lie_on_one_public_lattice_whatever_went_in() -> None:
    # spacing for a sensitivity of 0.7 is 2^-1 · 2^-30
    for value in (0.0, 1 / 3, math.pi * 1e3):
        noised = add_gaussian_noise(
            torch.full((5000,), value, dtype=torch.float64),
            sensitivity=0.7,
            noise_multiplier=1.3,
            draw_normals=NoiseStream(),
        )
        steps = noised * 2.0**31
        assert torch.equal(steps, steps.round())


def test_noise_added_is_exactly_the_rounded_draw() -> None:
    drawn = torch.tensor([0.5, -1.0, 0.0], dtype=torch.float64)
    noised = add_gaussian_noise(
        torch.tensor([1.0, 2.0, 3.0]),
        sensitivity=2.0,
        noise_multiplier=3.0,
        draw_normals=lambda n: drawn[:n],
    )
    assert noised.tolist() == [4.0, -4.0, 3.0]
