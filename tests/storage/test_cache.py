"""The cache on its own: what goes, what stays, and many processes in one folder."""

import hashlib
import multiprocessing
import os
from pathlib import Path

import pytest

from mstar.errors import UserError
from mstar.storage.cache import OBJECTS, Cache

SIZE = 10_000
SPAWN = multiprocessing.get_context("spawn")


def contents(number: int) -> bytes:
    return bytes([number]) * SIZE


def name_of(number: int) -> str:
    return hashlib.sha256(contents(number)).hexdigest()


def read(cache: Cache, number: int, fetched: list[int]) -> bytes:
    def fetch(path: Path) -> None:
        fetched.append(number)
        path.write_bytes(contents(number))

    with cache.reading(name_of(number), SIZE, fetch) as path:
        return path.read_bytes()


def held(folder: Path) -> set[str]:
    return {path.name for path in (folder / OBJECTS).rglob("*") if path.is_file()}


def test_what_was_used_least_recently_goes(tmp_path: Path) -> None:
    cache, fetched = Cache(tmp_path, 3 * SIZE), list[int]()
    for number in (0, 1, 2):
        read(cache, number, fetched)
        os.utime(tmp_path / OBJECTS / name_of(number)[:2] / name_of(number), (number, number))
    read(cache, 0, fetched)
    assert fetched == [0, 1, 2]
    read(cache, 3, fetched)
    assert held(tmp_path) == {name_of(number) for number in (0, 2, 3)}
    read(cache, 1, fetched)
    assert fetched == [0, 1, 2, 3, 1]


def test_what_is_in_use_stays_even_beyond_the_limit(tmp_path: Path) -> None:
    cache, fetched = Cache(tmp_path, 2 * SIZE), list[int]()

    def fetch(path: Path) -> None:
        path.write_bytes(contents(9))

    with cache.reading(name_of(9), SIZE, fetch) as path:
        for number in range(4):
            read(cache, number, fetched)
        assert path.read_bytes() == contents(9)
        assert name_of(9) in held(tmp_path)
    for number in range(4, 6):
        read(cache, number, fetched)
    assert len(held(tmp_path)) == 2


def test_a_file_larger_than_the_cache_is_read_all_the_same(tmp_path: Path) -> None:
    cache = Cache(tmp_path, SIZE // 2)
    assert read(cache, 1, []) == contents(1)
    with cache.scratch() as path:
        path.write_bytes(contents(2))
        cache.keep(path, name_of(2))
    assert name_of(2) not in held(tmp_path)


def test_files_of_other_users_are_read_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only their owners may say that they were used."""
    cache, fetched = Cache(tmp_path, 3 * SIZE), list[int]()
    read(cache, 1, fetched)

    def refuse(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(os, "utime", refuse)
    assert read(cache, 1, fetched) == contents(1)
    assert fetched == [1]


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="a part of the path is a file; choose another storage.cache; then"):
        read(Cache(tmp_path / "file" / "cache", SIZE), 1, [])


def read_many(folder: Path, seed: int, limit: int, told: Path) -> None:
    """A process that reads files in an order of its own; each must be whole, and its fetches are told."""
    cache, fetched = Cache(folder, limit), list[int]()
    for step in range(60):
        number = (step * 7 + seed * 3) % 12
        assert read(cache, number, fetched) == contents(number)
    told.write_text(str(len(fetched)))


@pytest.mark.parametrize(("limit", "most"), [(100 * SIZE, 12), (4 * SIZE, 4 * 60)], ids=["room", "no room"])
def test_processes_share_it(tmp_path: Path, limit: int, most: int) -> None:
    """With room for all, each file is fetched once, whoever asks; without, all is whole all the same."""
    told = [tmp_path / f"told-{number}" for number in range(4)]
    started = [
        SPAWN.Process(target=read_many, args=(tmp_path / "cache", number, limit, told[number]))
        for number in range(4)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * 4
    fetches = sum(int(path.read_text()) for path in told)
    assert 12 <= fetches <= most
    assert len(held(tmp_path / "cache")) <= limit // SIZE
