"""The numbers that rows are sampled with, against the same arithmetic in Python's integers."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mstar.engines.randomness import row_streams, uniforms

ALL = (1 << 64) - 1
SEEDS = st.integers(0, (1 << 63) - 1)


def mixed(state: int) -> int:
    """SplitMix64's finaliser."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & ALL
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & ALL
    return state ^ (state >> 31)


@given(SEEDS, st.integers(0, 1000), st.integers(0, 100_000))
def test_numbers_are_those_of_the_hash(seed: int, sample: int, token: int) -> None:
    step = 0x9E3779B97F4A7C15
    stream = mixed((mixed(seed) + (sample + 1) * step) & ALL)
    expected = (mixed((stream + (token + 1) * step) & ALL) >> 40) / 2**24
    [found] = uniforms(row_streams([seed], range(sample, sample + 1)), token).tolist()
    assert found == expected and 0 <= found < 1


@given(st.lists(SEEDS, min_size=1, max_size=5), st.integers(1, 5), st.integers(0, 50))
def test_a_rows_number_does_not_depend_on_the_others(seeds: list[int], samples: int, token: int) -> None:
    together = uniforms(row_streams(seeds, range(samples)), token)
    alone = [
        uniforms(row_streams([seed], range(sample, sample + 1)), token)
        for seed in seeds
        for sample in range(samples)
    ]
    assert torch.equal(together, torch.cat(alone))


def test_numbers_are_uniform_and_unrelated() -> None:
    """Over seeds in a row, samples and tokens, as they come in a run."""
    streams = row_streams(range(200), range(16))
    drawn = torch.stack([uniforms(streams, token) for token in range(50)])
    shares = torch.histc(drawn, 20, 0, 1) / drawn.numel()
    assert torch.allclose(shares, torch.full((20,), 0.05), atol=0.002)
    grid = drawn.reshape(50, 200, 16) - 0.5
    for one, next_one in (
        (grid[1:], grid[:-1]),
        (grid[:, 1:], grid[:, :-1]),
        (grid[..., 1:], grid[..., :-1]),
    ):
        assert abs(float((one * next_one).mean() * 12)) < 0.015
    assert drawn.unique().numel() > 0.98 * drawn.numel()
