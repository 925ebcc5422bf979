"""One uniform number for each (request, sample, token), by a hash of the three.

So a row draws the same numbers whatever other rows are in its batch, and however batches are cut. The hash is
the finaliser of SplitMix64 (Steele, Lea and Flood 2014), in torch's wrapping 64-bit integers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

BITS = 24
"""Of a number: as many as a float32 in [0, 1) holds exactly."""


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


STEP = _signed(0x9E3779B97F4A7C15)
FIRST, SECOND = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


def row_streams(seeds: Sequence[int], samples: range) -> Tensor:
    """(requests * samples,) int64: where the numbers of each row begin, request by request."""
    requests = _mixed(torch.tensor(seeds, dtype=torch.int64))[:, None]
    numbers = torch.arange(samples.start + 1, samples.stop + 1)
    return _mixed(requests + numbers * STEP).flatten()


def uniforms(streams: Tensor, token: int) -> Tensor:
    """(rows,) float32 in [0, 1): each row's number for its `token`-th token."""
    hashed = _mixed(streams + _signed((token + 1) * STEP % (1 << 64)))
    return _shifted(hashed, 64 - BITS).to(torch.float32) * 2.0**-BITS


def _mixed(state: Tensor) -> Tensor:
    state = (state ^ _shifted(state, 30)) * FIRST
    state = (state ^ _shifted(state, 27)) * SECOND
    return state ^ _shifted(state, 31)


def _shifted(state: Tensor, bits: int) -> Tensor:
    """To the right, with zeros from the left."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)
