"""How requests are cut into batches."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mstar.engines.reading import cut_batches
from mstar.models import Encoded


def rows(lengths: list[int]) -> list[Encoded]:
    return [Encoded([0] * length, torch.zeros((1, length))) for length in lengths]


@given(st.lists(st.integers(1, 60)), st.integers(1, 8), st.integers(1, 200))
def test_batches_hold_what_is_allowed(lengths: list[int], most_rows: int, most_tokens: int) -> None:
    batches = list(cut_batches(rows(lengths), most_rows, most_tokens))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[index] for index in batch)
        assert len(batch) <= most_rows
        assert padded <= most_tokens or len(batch) == 1


def test_one_long_prompt_does_not_pad_the_others() -> None:
    batches = list(cut_batches(rows([20] * 30 + [8000] + [20] * 33), 64, 16_384))
    assert [len(batch) for batch in batches] == [63, 1]
    assert batches[-1] == [30]
