"""Items of a thread: their order, how far ahead they are made, errors, and an end before the last."""

import threading
from collections.abc import Iterator

import pytest
import torch

from mstar.trainers.prefetch import AHEAD, prefetch, prefetch_for


def test_the_same_items_in_the_same_order() -> None:
    assert list(prefetch(iter(range(50)))) == list(range(50))
    assert list(prefetch(iter(()))) == []


def test_another_thread_makes_the_next_ones_and_no_more() -> None:
    """While one is used: that they are made then, this test waits for; that no more are, it looks at."""
    made: list[threading.Thread] = []
    is_made = [threading.Event() for _ in range(20)]

    def items() -> Iterator[int]:
        for number in range(20):
            made.append(threading.current_thread())
            is_made[number].set()
            yield number

    for number in prefetch(items()):
        assert is_made[min(number + AHEAD, 19)].wait(60)
        assert len(made) <= number + AHEAD + 1
    assert len(set(made)) == 1 and threading.current_thread() not in made


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the image is gone")

    made = prefetch(items())
    assert [next(made), next(made)] == [1, 2]
    with pytest.raises(OSError, match="the image is gone"):
        next(made)


def test_whoever_stops_in_the_middle_leaves_no_thread() -> None:
    made = prefetch(iter(range(1000)))
    assert next(made) == 0
    made.close()  # type: ignore[attr-defined]
    assert not [one for one in threading.enumerate() if one.name.startswith("prefetch")]


def test_a_cpu_makes_its_own_items() -> None:
    threads = []

    def items() -> Iterator[int]:
        threads.append(threading.current_thread())
        yield 1

    assert list(prefetch_for(torch.device("cpu"), items())) == [1]
    assert list(prefetch_for(torch.device("cuda"), items())) == [1]
    assert threads[0] is threading.current_thread() is not threads[1]
