"""Noise that protects patients: from the operating system's randomness and nothing else.

Uniform bits are a ChaCha20 keystream (RFC 8439) under a key from ``os.urandom``; normals come from
Box–Muller on 52-bit uniforms. There is no seed to set, so nobody who knows one can subtract the noise.
Noise is rounded to the public lattice that patients' rows lie on (``shared.sums.lattice``) and added
there, in exact arithmetic: which floats can come out does not depend on the patients, the leak of
Mironov 2012 and of Jin et al. 2021 (arXiv 2112.05307). What remains: tails end at 8.6 σ, and the time
to draw is not constant.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from shared.sums.lattice import spacing_of

DrawNormals = Callable[[int], torch.Tensor]

# ChaCha20's block counter has 32 bits, 256 GiB; a key is renewed long before.
_MAXIMUM_BYTES_PER_KEY = 1 << 33
# Small enough for the processor's cache, which makes drawing twice as fast.
_PAIRS_PER_BLOCK = 1 << 14


class NoiseStream:
    """Independent standard normals; calling it with n gives a float64 tensor [n].

    Safe over ``fork``: a child process takes a fresh key.
    """

    def __init__(self) -> None:
        self._take_fresh_key()

    def __call__(self, n: int) -> torch.Tensor:
        n_pairs = (n + 1) // 2
        normals = torch.empty(2, n_pairs, dtype=torch.float64)
        for start in range(0, n_pairs, _PAIRS_PER_BLOCK):
            self._fill(normals[:, start : start + _PAIRS_PER_BLOCK])
        return normals.view(-1)[:n]

    def _fill(self, pairs: torch.Tensor) -> None:
        """Box–Muller: two independent normals from two uniforms, in place [2,block]."""
        radius, angle = self.uniforms(pairs.numel()).view(2, -1)
        radius.log_().mul_(-2.0).sqrt_()
        angle.mul_(2.0 * math.pi)
        torch.mul(radius, angle.cos(), out=pairs[0])
        torch.mul(radius, angle.sin_(), out=pairs[1])

    def uniforms(self, n: int) -> torch.Tensor:
        """Uniforms [n] on the midpoints of 2^52 equal parts of (0, 1): never 0 and never 1."""
        n_bytes = 8 * n
        if self._process != os.getpid() or self._bytes_left < n_bytes:
            self._take_fresh_key()
        self._bytes_left -= n_bytes
        bits = np.frombuffer(self._cipher.update(bytes(n_bytes)), dtype="<u8") >> np.uint64(12)
        # 52 random bits as the mantissa of a float in [1, 2); subtracting 1 − 2^-53 is exact.
        bits |= np.uint64(0x3FF0000000000000)
        floats = bits.view(np.float64)
        floats -= 1.0 - 2.0**-53
        return torch.from_numpy(floats)

    def _take_fresh_key(self) -> None:
        # 16 bytes: a 32-bit block counter starting at 0 and a 96-bit nonce; the key is used once.
        self._cipher = Cipher(ChaCha20(os.urandom(32), bytes(16)), mode=None).encryptor()
        self._process = os.getpid()
        self._bytes_left = _MAXIMUM_BYTES_PER_KEY


def add_gaussian_noise(
    total: torch.Tensor,
    *,
    sensitivity: float,
    noise_multiplier: float,
    draw_normals: DrawNormals,
) -> torch.Tensor:
    """``total`` with noise of standard deviation noise_multiplier · sensitivity, float64, same shape.

    Both are first rounded to the lattice of ``spacing_of(sensitivity)``, so the result is a rounding of
    the ideal Gaussian mechanism applied to lattice values. A sum of rows on that lattice, as
    ``clipped_sum`` gives, is on it already: then nothing of the patients is rounded here.

    Args:
        total: sum over patients; one patient moves it by at most ``sensitivity`` in L2.
        sensitivity: above 0, in the units of ``total``.
        noise_multiplier: above 0.
        draw_normals: a ``NoiseStream``; tests may pass a known one.
    """
    spacing = spacing_of(sensitivity)
    normals = draw_normals(total.numel()).to(device=total.device, dtype=torch.float64)
    noise = (normals * (noise_multiplier * sensitivity / spacing)).round()
    lattice = (total.to(torch.float64) / spacing).round() + noise.view_as(total)
    return lattice * spacing
