"""When a stage counts as done, on real folders: damage, shards, and what a stage was made from."""

import logging
from pathlib import Path

import pytest

from mstar.errors import UserError
from mstar.stagedir import Shard, StageDir, differences, read_manifest
from mstar.storage import FolderStorage

MADE_FROM = {"generate": {"temperature": 1.0}, "seed": 1}
NAMES = ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]


def open_stage(root: Path, shard: str = "1/1", **changes: object) -> StageDir:
    return StageDir(
        FolderStorage(root), "iterations/000/generate", {**MADE_FROM, **changes}, Shard.parse(shard)
    )


def write_parts(stage: StageDir, names: list[str]) -> None:
    for name in names:
        with stage.write_part(name) as path:
            path.write_text(f"contents of {name}")


def finish(root: Path) -> None:
    stage = open_stage(root)
    write_parts(stage, NAMES)
    assert stage.commit(lambda: {"responses": 3}, NAMES)


def test_done_when_the_manifest_is_there(tmp_path: Path) -> None:
    stage = open_stage(tmp_path)
    assert not stage.done
    assert stage.missing(NAMES) == NAMES
    finish(tmp_path)
    again = open_stage(tmp_path)
    assert again.done
    assert again.missing(NAMES) == []
    manifest = read_manifest(FolderStorage(tmp_path), "iterations/000/generate")
    assert manifest is not None
    assert manifest.facts == {"responses": 3}
    assert sorted(manifest.files) == NAMES


def test_a_killed_stage_keeps_its_parts(tmp_path: Path) -> None:
    write_parts(open_stage(tmp_path), NAMES[:2])
    again = open_stage(tmp_path)
    assert not again.done
    assert again.missing(NAMES) == NAMES[2:]


def test_a_part_that_was_never_recorded_is_made_again(tmp_path: Path) -> None:
    write_parts(open_stage(tmp_path), NAMES[:1])
    (tmp_path / "iterations/000/generate" / NAMES[1]).write_text("written, but killed before it was noted")
    assert open_stage(tmp_path).missing(NAMES) == NAMES[1:]


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("damage, said", [("truncate", "size"), ("flip", "sha256"), ("remove", "gone")])
def test_damage_is_named_and_only_that_part_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str, said: str, finished: bool
) -> None:
    if finished:
        finish(tmp_path)
    else:
        write_parts(open_stage(tmp_path), NAMES)
    part = tmp_path / "iterations/000/generate" / NAMES[1]
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
    assert NAMES[1] in caplog.text and said in caplog.text
    assert not again.done
    assert again.missing(NAMES) == [NAMES[1]]
    write_parts(again, [NAMES[1]])
    assert again.commit(dict, NAMES)
    assert open_stage(tmp_path).done


def test_a_damaged_manifest_costs_no_part(tmp_path: Path) -> None:
    finish(tmp_path)
    (tmp_path / "iterations/000/generate/manifest.json").write_text('{"files"')
    again = open_stage(tmp_path)
    assert not again.done
    assert again.missing(NAMES) == []


def test_shards_own_disjoint_parts_and_the_last_one_commits(tmp_path: Path) -> None:
    first, second = open_stage(tmp_path, "1/2"), open_stage(tmp_path, "2/2")
    assert (first.missing(NAMES), second.missing(NAMES)) == ([NAMES[0], NAMES[2]], [NAMES[1]])
    write_parts(first, first.missing(NAMES))
    assert not first.commit(dict, NAMES)
    assert not open_stage(tmp_path, "1/2").done
    write_parts(second, second.missing(NAMES))
    assert second.commit(dict, NAMES)
    manifest = (tmp_path / "iterations/000/generate/manifest.json").read_bytes()
    finish(other := tmp_path / "unsharded")
    whole = (other / "iterations/000/generate/manifest.json").read_text()
    assert manifest.decode() == whole.replace('"responses": 3', "").replace("{\n    \n  }", "{}")


def test_another_origin_is_refused_with_both_values(tmp_path: Path) -> None:
    finish(tmp_path)
    with pytest.raises(UserError, match=r"generate.temperature = 1.0, now it is 0.7; .*delete"):
        open_stage(tmp_path, generate={"temperature": 0.7})


def test_another_origin_is_refused_while_unfinished(tmp_path: Path) -> None:
    write_parts(open_stage(tmp_path), NAMES[:1])
    with pytest.raises(UserError, match="seed = 1, now it is 2"):
        open_stage(tmp_path, seed=2)


def test_a_folder_counts_as_the_files_in_it(tmp_path: Path) -> None:
    stage = open_stage(tmp_path)
    for text in ("old", "new"):
        with stage.write_part("checkpoint") as path:
            path.mkdir()
            (path / "weights").write_text(text)
    again = open_stage(tmp_path)
    assert again.has("checkpoint")
    assert again.path("checkpoint/weights").read_text() == "new"
    (tmp_path / "iterations/000/generate/checkpoint/weights").write_text("bad")
    assert not open_stage(tmp_path).has("checkpoint")


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/2/3", "-1/2", ""])
def test_a_bad_shard_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--shard"):
        Shard.parse(text)


def test_differences_name_the_dotted_key() -> None:
    found = list(differences({"a": {"b": 1, "c": 2}, "d": 1}, {"a": {"b": 1, "c": 3}, "e": 1}))
    assert found == [("a.c", 2, 3), ("d", 1, None), ("e", None, 1)]
