"""What all stages do besides their own work: several processes that do the same at once."""

from collections.abc import Callable
from pathlib import Path

from mstar.config import Config
from mstar.records import Selected
from mstar.rundir import RunDir
from mstar.stages import SELECT
from mstar.storage import build_storage
from mstar.work import Turn, Work, perform

MakeConfig = Callable[..., Config]
NAME = "selected.parquet"


def write(work: Work, text: str) -> None:
    with work.folder.write(NAME) as path:
        path.write_text(text)


def test_a_slower_process_takes_over_the_result_and_leaves_nothing(make_config: MakeConfig) -> None:
    """It still waits for other shards when somebody else has finished everything."""
    config = make_config()
    turn = Turn(RunDir(build_storage(config.output), config), 0)

    def quick(work: Work) -> Selected | None:
        write(work, "of the quick one")
        return work.commit([NAME], lambda: Selected(kept=1))

    def slow(work: Work) -> Selected | None:
        assert perform(SELECT, turn, {}, quick) == Selected(kept=1)
        write(work, "of the slow one")
        return None

    assert perform(SELECT, turn, {}, slow) == Selected(kept=1)
    left = [path for path in (Path(config.output) / "iterations/000/select").glob("selected-*")]
    assert [path.read_text() for path in left] == ["of the quick one"]


def test_what_a_killed_process_left_beside_a_manifest_goes_at_the_next_start(make_config: MakeConfig) -> None:
    """It was killed after the manifest, before or while it deleted: the note is what goes last."""
    config = make_config()
    turn = Turn(RunDir(build_storage(config.output), config), 0)

    def work(work: Work) -> Selected | None:
        write(work, "counts")
        return work.commit([NAME], lambda: Selected(kept=1))

    perform(SELECT, turn, {}, work)
    folder = Path(config.output) / "iterations/000/select"
    names = {path.name for path in folder.iterdir()}
    for name in ("begun.json", "other-0123456789ab.parquet"):
        (folder / name).write_text("{}")
    assert perform(SELECT, turn, {}, work) == Selected(kept=1)
    assert {path.name for path in folder.iterdir()} == names


def test_a_stage_whose_file_goes_while_it_is_read_begins_again(make_config: MakeConfig) -> None:
    """As a checkpoint to go on from, of which another process has newer ones by then."""
    config, tries = make_config(), []
    turn = Turn(RunDir(build_storage(config.output), config), 0)

    def work(work: Work) -> Selected | None:
        tries.append(work)
        if len(tries) == 1:
            raise FileNotFoundError("the other process has removed it")
        write(work, "counts")
        return work.commit([NAME], lambda: Selected(kept=1))

    assert perform(SELECT, turn, {}, work) == Selected(kept=1)
    assert len(tries) == 2


def test_a_shard_makes_its_own_parts_again_that_others_have_deleted(make_config: MakeConfig) -> None:
    """It does not end as if other shards owed them."""
    config, tries = make_config(), []
    turn = Turn(RunDir(build_storage(config.output), config), 0)

    def work(work: Work) -> Selected | None:
        tries.append(work)
        write(work, "counts")
        if len(tries) == 1:
            (deleted,) = (Path(config.output) / "iterations/000/select").glob("selected-*")
            deleted.unlink()
        return work.commit([NAME], lambda: Selected(kept=1))

    assert perform(SELECT, turn, {}, work) == Selected(kept=1)
    assert len(tries) == 2
