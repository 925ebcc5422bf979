"""The stages as commands, in shards and by several processes at once: the files are those of the loop."""

import os
import shutil
from pathlib import Path

import pytest

from mstar.errors import WrongBytes
from mstar.rundir import RunDir
from mstar.starting import open_run
from mstar.storage.folder import FolderStorage
from tests.commands import at_once, mstar
from tests.smoke import fingerprints, of_first_iteration, prepare_arguments


@pytest.mark.slow
def test_two_processes_on_every_shard_leave_the_same_files(
    problems: Path, finished: Path, tmp_path: Path
) -> None:
    """As a scheduler that starts a task again while the first one still runs."""
    output = tmp_path / "twice"
    mstar(*prepare_arguments(problems, output))
    at = ["--run", str(output), "--iteration", "0"]
    shards = [["--shard", "1/2"], ["--shard", "1/2"], ["--shard", "2/2"], ["--shard", "2/2"]]
    at_once(["evaluate", "--run", str(output), *shard] for shard in shards)
    for stage in ("generate", "score"):
        at_once([stage, *at, *shard] for shard in shards)
    for stage in ("select", "train"):
        at_once([stage, *at] for _ in range(2))
    mstar("evaluate", *at)  # as two on every shard have done at the start
    at_once(["adapt", *at] for _ in range(2))
    assert fingerprints(output) == of_first_iteration(fingerprints(finished))
    assert not list((output / ".scratch").iterdir())


def test_a_shard_does_its_share_and_no_more(problems: Path, tmp_path: Path) -> None:
    output, sizes = tmp_path / "shards", ("evaluate.problems_per_part=8", "generate.problems_per_chunk=4")
    mstar(*prepare_arguments(problems, output, *sizes))
    for stage, folder in (
        ("evaluate", "start/evaluate"),
        ("generate", "iterations/000/generate"),
        ("score", "iterations/000/score"),
    ):
        at = ["--run", str(output)] + (["--iteration", "0"] if folder.startswith("iterations") else [])
        mstar(stage, *at, "--shard", "1/2")
        half = {path.name for path in (output / folder).rglob("part-*.parquet")}
        assert not (output / folder / "manifest.json").exists()
        mstar(stage, *at, "--shard", "2/2")
        whole = {path.name for path in (output / folder).rglob("part-*.parquet")}
        assert (output / folder / "manifest.json").exists()
        assert set() < half < whole, stage


def test_a_stage_that_is_finished_says_so_and_one_beyond_the_last_is_refused(finished: Path) -> None:
    for stage in ("generate", "score", "select", "train", "evaluate", "adapt"):
        again = mstar(stage, "--run", str(finished), "--iteration", "1")
        assert again.stdout.splitlines()[-1] == f"iteration 1 · {stage} is finished already"
        beyond = mstar(stage, "--run", str(finished), "--iteration", "2", check=False)
        assert beyond.returncode == 2
        assert "--iteration is 2, and the last one of " in beyond.stderr
        assert "whole is 1; prepare it again with a larger iterations.count" in beyond.stderr


def test_a_stage_out_of_order_says_what_comes_first(problems: Path, tmp_path: Path) -> None:
    output = tmp_path / "order"
    mstar(*prepare_arguments(problems, output))
    at = ["--run", str(output), "--iteration"]
    for stage, iteration, remedy in (
        ("score", "0", "mstar generate"),
        ("generate", "1", "decision of iteration 0"),
    ):
        failed = mstar(stage, *at, iteration, check=False)
        assert failed.returncode == 2
        assert remedy in failed.stderr and "Traceback" not in failed.stderr


@pytest.mark.parametrize(
    ("changed", "maker", "reader"),
    [
        ("iterations/000/generate/part-00000-*", "generate", ("score", "0")),
        ("iterations/000/score/part-00000-*", "score", ("select", "0")),
        ("iterations/000/select/selected-*", "select", ("train", "0")),
        ("iterations/000/train/checkpoint-*/model.safetensors", "train", ("generate", "1")),
        ("iterations/000/train/checkpoint-*/training_state/moments.tensors", "train", ("train", "1")),
    ],
)
def test_what_another_stage_left_is_not_read_with_other_bytes(
    finished: Path, tmp_path: Path, changed: str, maker: str, reader: tuple[str, str]
) -> None:
    """Of equal size and time: fingerprints would say that it was made from what the manifest lists."""
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    stage, iteration = reader
    shutil.rmtree(output / "iterations" / f"{int(iteration):03d}" / stage)
    (file,) = output.glob(changed)
    before, times = file.read_bytes(), file.stat()
    file.write_bytes(before[:-600] + bytes([before[-600] ^ 1]) + before[-599:])
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    refused = mstar(stage, "--run", str(output), "--iteration", iteration, check=False)
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    said = "is damaged; start mstar run" if maker == "train" else "is not as it was written"
    assert f"{file.name} {said}" in refused.stderr
    if maker != "train":
        mstar(maker, "--run", str(output), "--iteration", "0")
        assert file.read_bytes() == before


def test_moments_are_looked_at_by_who_goes_on_with_them(finished: Path, tmp_path: Path) -> None:
    """They are twice the bytes of the weights: a machine that samples need not hash them."""
    shutil.copytree(finished, tmp_path / "run")
    run = RunDir(FolderStorage(tmp_path / "run"), open_run(str(finished)).config)
    (moments,) = (tmp_path / "run").glob("iterations/000/train/*/training_state/moments.tensors")
    moments.write_bytes(moments.read_bytes()[:-1] + b"?")
    with run.policy_folder(run.policy_after(0)) as folder:
        assert moments.is_relative_to(folder)
    with pytest.raises(WrongBytes, match="moments.tensors is damaged"):
        run.policy_folder(run.policy_after(0), goes_on=True).__enter__()
