"""How responses become batches and micro-batches."""

from hypothesis import given
from hypothesis import strategies as st

from mstar.config_train import Train
from mstar.trainers.batches import plan_batches, plan_micro_batches, plan_packs


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.floats(0, 0.5), st.integers(300, 2000))
def test_micro_batches_keep_to_their_limits(lengths: list[int], max_padding: float, tokens: int) -> None:
    groups = plan_micro_batches(lengths, Train(max_padding=max_padding, tokens_per_micro_batch=tokens))
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        size = max(lengths[index] for index in group) * len(group)
        assert size <= tokens
        assert size - sum(lengths[index] for index in group) <= max_padding * size + 1e-9


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.integers(100, 2000))
def test_packs_are_full_and_hold_what_they_have_room_for(lengths: list[int], tokens: int) -> None:
    packs = plan_packs(lengths, Train(tokens_per_micro_batch=tokens))
    assert sorted(index for pack in packs for index in pack) == list(range(len(lengths)))
    held = [sum(lengths[index] for index in pack) for pack in packs]
    assert all(size <= tokens or len(pack) == 1 for size, pack in zip(held, packs, strict=True))
    for number, size in enumerate(held[1:], 1):
        assert all(size + before > tokens for before in held[:number])


def test_batches_are_a_fresh_order_every_epoch() -> None:
    batches = plan_batches(10, Train(batch_size=4, epochs=2), seed=1)
    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2]
    first, second = sum(batches[:3], []), sum(batches[3:], [])
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert plan_batches(10, Train(batch_size=4, epochs=2), seed=1) == batches
