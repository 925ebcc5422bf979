"""Items that are made ahead: when, in which order, and what happens to their errors."""

import threading
from collections.abc import Iterator

import pytest

from mstar.trainers.ahead import Ahead


def test_the_next_item_is_made_when_told_and_not_before() -> None:
    made: list[int] = []
    second = threading.Event()

    def items() -> Iterator[int]:
        for number in range(3):
            made.append(number)
            if number == 1:
                second.set()
            yield number

    with Ahead(items()) as ahead:
        asked = iter(ahead)
        assert (next(asked), made) == (0, [0])
        ahead.begin()
        ahead.begin()
        assert second.wait(10)
        assert (list(asked), made) == ([1, 2], [0, 1, 2])


def test_an_error_is_raised_where_its_item_is_asked_for() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    with Ahead(items()) as ahead:
        asked = iter(ahead)
        assert next(asked) == 1
        ahead.begin()
        with pytest.raises(ValueError, match="no more"):
            next(asked)


def test_the_thread_ends_with_its_block() -> None:
    before = threading.active_count()
    with Ahead(range(5)) as ahead:
        assert next(iter(ahead)) == 0
        ahead.begin()
    assert threading.active_count() == before
