"""Training goes on while a checkpoint is on its way, and waits where it has to."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mstar.trainers.saving import saving_meanwhile


class SlowStorage:
    """Takes a folder only when it is let go; counts how many are on their way at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.let_go = threading.Event()
        self.on_the_way = self.most_on_the_way = 0
        self.taken: list[int] = []

    @contextmanager
    def save_to(self, done: int) -> Iterator[Path]:
        yield self.folder / str(done)
        self.on_the_way += 1
        self.most_on_the_way = max(self.most_on_the_way, self.on_the_way)
        assert self.let_go.wait(30)
        if done < 0:
            raise OSError("the disk is gone")
        self.taken.append(done)
        self.on_the_way -= 1


def test_training_goes_on_and_the_end_waits(tmp_path: Path) -> None:
    storage, trained = SlowStorage(tmp_path), 0
    with saving_meanwhile(storage.save_to) as save_to:
        with save_to(1):
            pass
        trained += 1
        assert storage.taken == []
        storage.let_go.set()
        for done in (2, 3):
            with save_to(done):
                pass
    assert (trained, storage.taken, storage.most_on_the_way) == (1, [1, 2, 3], 1)


@pytest.mark.parametrize("more", [0, 1])
def test_what_goes_wrong_on_the_way_is_raised(tmp_path: Path, more: int) -> None:
    storage = SlowStorage(tmp_path)
    storage.let_go.set()
    with pytest.raises(OSError, match="the disk is gone"), saving_meanwhile(storage.save_to) as save_to:
        with save_to(-1):
            pass
        for done in range(more):
            with save_to(done):
                pytest.fail("the last checkpoint has failed")


def test_what_fails_while_it_is_written_is_not_taken(tmp_path: Path) -> None:
    storage = SlowStorage(tmp_path)
    storage.let_go.set()
    with pytest.raises(ValueError, match="full"), saving_meanwhile(storage.save_to) as save_to, save_to(1):
        raise ValueError("full")
    assert storage.taken == []


def test_what_is_left_out_is_gone_before_the_checkpoint_counts(tmp_path: Path) -> None:
    storage = SlowStorage(tmp_path)
    storage.let_go.set()
    with saving_meanwhile(storage.save_to, {"b.json", "none.json"}) as save_to, save_to(1) as folder:
        folder.mkdir()
        for name in ("a.json", "b.json"):
            (folder / name).write_text("{}")
    assert storage.taken == [1]
    assert [path.name for path in (tmp_path / "1").iterdir()] == ["a.json"]
