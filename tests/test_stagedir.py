"""When a stage counts as done, on real folders: damage, several writers, and what a stage was made from."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mstar.errors import UserError
from mstar.stage_notes import Begun, read_manifest
from mstar.stagedir import StageDir
from mstar.stages import Shard
from mstar.storage.folder import FolderStorage
from mstar.stored_names import plain_name

PREFIX = "iterations/000/generate"
MADE_FROM = {"generate.temperature": 1.0, "policy.content": "abc"}
NAMES = ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]


def open_stage(root: Path, version: int = 1, **changes: object) -> StageDir:
    made_from = {**MADE_FROM, **{key.replace("__", "."): value for key, value in changes.items()}}
    return StageDir(FolderStorage(root), PREFIX, Begun(made_from, version))


def write_parts(stage: StageDir, names: list[str], text: str = "") -> None:
    stage.begin()
    add_parts(stage, names, text)


def add_parts(stage: StageDir, names: list[str], text: str = "") -> None:
    for name in names:
        with stage.write(name) as path:
            path.write_text(f"contents of {name}{text}")


def finish(root: Path, **result: Any) -> None:
    stage = open_stage(root)
    write_parts(stage, NAMES)
    stage.commit(result, NAMES)


def stored(root: Path, name: str) -> Path:
    return next(path for path in (root / PREFIX).iterdir() if plain_name(path.name) == name)


def files(root: Path) -> list[str]:
    return sorted(path.name for path in (root / PREFIX).iterdir())


def test_done_when_the_manifest_is_there(tmp_path: Path) -> None:
    stage = open_stage(tmp_path)
    assert not stage.done
    assert stage.missing(NAMES) == NAMES
    finish(tmp_path, responses=3)
    again = open_stage(tmp_path)
    assert again.done
    assert again.missing(NAMES) == []
    manifest = read_manifest(FolderStorage(tmp_path), PREFIX)
    assert manifest is not None
    assert manifest.result == {"responses": 3}
    assert [plain_name(name) for name in sorted(manifest.files)] == NAMES
    assert files(tmp_path) == sorted([*manifest.files, "manifest.json"])


def test_a_killed_stage_keeps_its_parts(tmp_path: Path) -> None:
    write_parts(open_stage(tmp_path), NAMES[:2])
    again = open_stage(tmp_path)
    assert not again.done
    assert again.missing(NAMES) == NAMES[2:]


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("damage, said", [("truncate", "size"), ("flip", "sha256"), ("remove", "gone")])
def test_damage_is_named_and_only_that_part_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str, said: str, finished: bool
) -> None:
    if finished:
        finish(tmp_path)
    else:
        write_parts(open_stage(tmp_path), NAMES)
    part = stored(tmp_path, NAMES[1])
    text = part.read_bytes()
    match damage:
        case "truncate":
            part.write_bytes(text[:5])
        case "flip":
            part.write_bytes(bytes([text[0] ^ 1]) + text[1:])
        case "remove":
            part.unlink()
    with caplog.at_level(logging.WARNING):
        again = open_stage(tmp_path)
    if finished:
        assert part.name in caplog.text and said in caplog.text
    elif damage != "remove":
        assert f"{part.name} is damaged" in caplog.text
    assert not again.done
    assert again.missing(NAMES) == [NAMES[1]]
    write_parts(again, [NAMES[1]])
    again.commit({}, NAMES)
    assert open_stage(tmp_path).done
    assert part.read_bytes() == text


@pytest.mark.parametrize("text", ['{"files"', ""])
def test_a_damaged_manifest_costs_no_part(tmp_path: Path, text: str) -> None:
    finish(tmp_path)
    (tmp_path / PREFIX / "manifest.json").write_text(text)
    again = open_stage(tmp_path)
    assert not again.done
    assert again.missing(NAMES) == []
    again.begin()
    again.commit({}, NAMES)
    assert open_stage(tmp_path).done


def test_two_writers_of_other_contents_leave_what_the_first_one_says(tmp_path: Path) -> None:
    """As two machines that round differently: both end, one result counts, and it is whole."""
    first, second = open_stage(tmp_path), open_stage(tmp_path)
    write_parts(first, NAMES)
    write_parts(second, NAMES, text=", rounded otherwise")
    assert len(files(tmp_path)) == 2 * len(NAMES) + 1
    second.commit({"writer": 2}, NAMES)
    first.commit({"writer": 1}, NAMES)
    assert open_stage(tmp_path).done
    assert first.manifest == second.manifest and first.manifest is not None
    assert first.manifest.result == {"writer": 2}
    assert stored(tmp_path, NAMES[0]).read_text().endswith("otherwise")
    assert len(files(tmp_path)) == len(NAMES) + 1


def test_a_slow_writer_that_comes_too_late_harms_nothing(tmp_path: Path) -> None:
    slow = open_stage(tmp_path)
    write_parts(slow, NAMES[:1], text=", rounded otherwise")
    finish(tmp_path)
    add_parts(slow, NAMES[1:], text=", rounded otherwise")
    assert open_stage(tmp_path).done
    slow.commit({"writer": "slow"}, NAMES)
    assert slow.manifest is not None and slow.manifest.result == {}
    assert open_stage(tmp_path).done
    assert len(files(tmp_path)) == len(NAMES) + 1


class Meanwhile(FolderStorage):
    """A folder in which others do something between two requests of this process: once, after those that
    `when` is true of.
    """

    def __init__(self, root: Path, when: Callable[[str, str], bool], do: Callable[[], None]) -> None:
        super().__init__(root)
        self._when, self._do = when, [do]

    def _then(self, request: str, key: str) -> None:
        if self._do and self._when(request, key):
            self._do.pop()()

    def publish(self, path: Path, key: str, replace: bool = False, durable: bool = True) -> bool:
        found = super().publish(path, key, replace, durable)
        self._then("publish", key)
        return found

    def sizes(self, prefix: str) -> dict[str, int]:
        found = super().sizes(prefix)
        self._then("sizes", prefix)
        return found


def beside(root: Path, request: str, name: str, do: Callable[[], None]) -> StageDir:
    """A stage of a process, after whose first `request` about a file of this name others do something."""
    storage = Meanwhile(root, lambda asked, key: asked == request and key.endswith(name), do)
    return StageDir(storage, PREFIX, Begun(MADE_FROM, 1))


def test_parts_of_another_process_stay_that_has_read_the_note(tmp_path: Path) -> None:
    """The first one to begin has been slow since it wrote the note."""
    first = beside(tmp_path, "publish", "begun.json", lambda: write_parts(open_stage(tmp_path), NAMES[1:]))
    write_parts(first, NAMES[:1])
    assert first.missing(NAMES) == []


def test_a_stage_that_ends_while_it_is_looked_at_is_done(tmp_path: Path) -> None:
    """Its files that do not count go between the listing and the look at them."""
    other = open_stage(tmp_path)
    write_parts(other, ["unjudged.parquet", *NAMES])
    stage = beside(tmp_path, "sizes", "", lambda: other.commit({}, NAMES))
    assert not stage.done
    stage.begin()
    assert stage.done


def test_a_stage_that_ends_before_it_is_begun_stays(tmp_path: Path) -> None:
    """Its note is there when this process writes one, and gone when it reads it."""
    other = open_stage(tmp_path)
    write_parts(other, NAMES)
    stage = beside(tmp_path, "publish", "begun.json", lambda: other.commit({"writer": "other"}, NAMES))
    stage.begin()
    assert stage.done and stage.manifest is not None and stage.manifest.result == {"writer": "other"}
    assert open_stage(tmp_path).done


def test_another_origin_is_refused_with_both_values(tmp_path: Path) -> None:
    finish(tmp_path)
    with pytest.raises(UserError, match=r"generate.temperature = 1.0, now it is 0.7; .*delete"):
        open_stage(tmp_path, generate__temperature=0.7)


def test_another_origin_is_refused_while_unfinished(tmp_path: Path) -> None:
    write_parts(open_stage(tmp_path), NAMES[:1])
    with pytest.raises(UserError, match="policy.content = abc, now it is def"):
        open_stage(tmp_path, policy__content="def").begin()


def test_a_finished_stage_of_other_rules_stays_and_one_in_hand_begins_again(tmp_path: Path) -> None:
    write_parts(open_stage(tmp_path), NAMES[:2])
    newer = open_stage(tmp_path, version=2)
    newer.begin()
    assert newer.missing(NAMES) == NAMES
    finish(other := tmp_path / "finished")
    assert open_stage(other, version=2).done
    stored(other, NAMES[0]).unlink()
    damaged = open_stage(other, version=2)
    assert not damaged.done
    damaged.begin()
    assert damaged.missing(NAMES) == NAMES


def test_a_stage_that_made_nothing_may_begin_from_something_else(tmp_path: Path) -> None:
    earlier = open_stage(tmp_path, policy__content="does not load")
    earlier.begin()
    write_parts(open_stage(tmp_path), NAMES[:1])
    with pytest.raises(UserError, match=r"made with policy.content = abc, now it is does not load"):
        write_parts(earlier, NAMES[1:2])
    assert open_stage(tmp_path).missing(NAMES) == NAMES[1:]
    with pytest.raises(UserError, match=r"policy.content"):
        open_stage(tmp_path, policy__content="other").begin()


def test_another_engine_serves_the_next_stage_and_not_the_one_in_hand(tmp_path: Path) -> None:
    before, after = {"generate__engine": "transformers"}, {"generate__engine": "vllm"}
    stage = open_stage(tmp_path, **before)
    write_parts(stage, NAMES[:2])
    with pytest.raises(UserError, match=r"made with generate.engine = transformers, now it is vllm"):
        open_stage(tmp_path, **after).begin()
    write_parts(stage, NAMES[2:])
    stage.commit({}, NAMES)
    assert open_stage(tmp_path, **after).done
    stored(tmp_path, NAMES[1]).unlink()
    with pytest.raises(UserError, match=r"made with generate.engine = transformers, now it is vllm"):
        open_stage(tmp_path, **after)
    assert open_stage(tmp_path, **before).missing(NAMES) == [NAMES[1]]


def save_checkpoint(stage: StageDir, done: int, text: str) -> None:
    with stage.write_checkpoint(done) as path:
        path.mkdir()
        (path / "weights").write_text(text)


def test_parts_whose_note_was_lost_with_the_power_are_made_again(tmp_path: Path) -> None:
    """Nobody knows what they were made from; those of a finished stage are vouched for by its manifest."""
    write_parts(open_stage(tmp_path), NAMES[:2])
    (tmp_path / PREFIX / "begun.json").unlink()
    stage = open_stage(tmp_path, generate__temperature=0.5)
    stage.begin()
    assert stage.missing(NAMES) == NAMES
    assert files(tmp_path) == ["begun.json"]


def test_files_are_on_the_disk_before_the_manifest_that_lists_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []

    def note(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").resolve())

    monkeypatch.setattr(os, "fsync", note)
    stage = open_stage(tmp_path)
    write_parts(stage, NAMES)
    assert flushed == []
    stage.commit({}, NAMES)
    parts = [stored(tmp_path, name) for name in NAMES]
    assert flushed[:4] == [*parts, tmp_path / PREFIX]
    assert len(flushed) == 6  # then the manifest, where it was made, and the folder that names it


def test_the_newest_whole_checkpoint_counts(tmp_path: Path) -> None:
    stage = open_stage(tmp_path)
    stage.begin()
    for done in (2, 4, 6):
        save_checkpoint(stage, done, f"after {done}")
    newest = open_stage(tmp_path).newest_checkpoint()
    assert newest is not None and newest[1].done == 6
    assert len(list((tmp_path / PREFIX).glob("checkpoint-*/"))) == 2
    (tmp_path / newest[0] / "weights").write_text("bad")
    last_but_one = open_stage(tmp_path).newest_checkpoint()
    assert last_but_one is not None and last_but_one[1].done == 4


def test_a_finished_stage_keeps_one_checkpoint(tmp_path: Path) -> None:
    stage = open_stage(tmp_path)
    stage.begin()
    save_checkpoint(stage, 2, "half")
    save_checkpoint(stage, 4, "whole")
    stage.commit({}, [], stage.newest_checkpoint())
    again = open_stage(tmp_path)
    assert again.done
    (folder,) = (path for path in (tmp_path / PREFIX).iterdir() if path.is_dir())
    assert (folder / "weights").read_text() == "whole"
    (folder / "weights").write_text("bad")
    assert not open_stage(tmp_path).done


def test_what_went_on_purpose_is_not_missed(tmp_path: Path) -> None:
    stage = open_stage(tmp_path)
    stage.begin()
    save_checkpoint(stage, 2, "weights")
    stage.commit({}, [], newest := stage.newest_checkpoint())
    assert newest is not None
    folder = newest[0].rpartition("/")[2]
    stage.storage.remove(newest[0])
    assert not open_stage(tmp_path).done
    (tmp_path / PREFIX / "removed.json").write_text(f'{{"{folder}": "superseded"}}')
    assert open_stage(tmp_path).done


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/2/3", "-1/2", "", "²/³", "1/2\n", "٣/٤"])
def test_a_bad_shard_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--shard"):
        Shard.parse(text)


def test_shards_own_disjoint_parts() -> None:
    first, second = Shard.parse("1/2"), Shard.parse("2/2")
    assert [first.owns(number) for number in range(4)] == [True, False, True, False]
    assert all(first.owns(number) != second.owns(number) for number in range(4))
