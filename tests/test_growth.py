"""What must not grow with the data: the work for one more part, and what is in memory of a test set.

No clocks: calls and bytes are counted, which are the same everywhere. Times are in benchmarks/growth.py.
"""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from mstar.config import Config
from mstar.datasets import open_problems
from mstar.engines import Sampling
from mstar.evaluation import build_report
from mstar.records import Response
from mstar.response_parts import write_responses
from mstar.rundir import Finished
from mstar.sampling import cut_parts
from mstar.stage_notes import Begun
from mstar.stagedir import StageDir
from mstar.stages import EVALUATE, part_names
from mstar.starting import start_run
from mstar.storage.folder import FolderStorage
from mstar.timing import StageClock
from mstar.work import Turn, Work
from tests.conftest import PROBLEMS
from tests.counting import calls_of

MEBIBYTE = 1 << 20


def peak_of(do: Callable[[], object]) -> int:
    """The most bytes of Python objects that were in memory on the way, beyond what was there before."""
    tracemalloc.start()
    try:
        do()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("read", ["finished", "in hand"])
def test_every_part_takes_as_much_work_to_find_however_many_there_are(tmp_path: Path, read: str) -> None:
    calls = {}
    for total in (50, 100, 200):
        storage = FolderStorage(tmp_path / str(total))
        stage = StageDir(storage, "iterations/000/generate", Begun({}, 1))
        stage.begin()
        for name in part_names(total):
            with stage.write(name) as path:
                path.write_text(name)
        stage.commit({}, part_names(total))
        assert stage.manifest
        source = Finished(storage, stage.prefix, stage.manifest) if read == "finished" else stage
        calls[total] = calls_of(lambda source=source, total=total: read_all(source, part_names(total)))
    assert calls[200] - calls[100] < 2.2 * (calls[100] - calls[50])


def read_all(source: Finished | StageDir, names: list[str]) -> None:
    for name in names:
        with source.reading(name) as path:
            assert path.read_text() == name


def test_a_report_is_measured_with_one_part_in_memory(make_config: Callable[..., Config]) -> None:
    heldout, size = open_problems(PROBLEMS / "heldout.parquet"), 10
    run = start_run(make_config())
    folder = StageDir(run.storage, "start/evaluate", Begun({}, EVALUATE.version))
    folder.begin()
    parts = [
        *cut_parts("test-heldout/", heldout, range(len(heldout)), size, Sampling(1, 0.0, 1.0, 60)),
        *cut_parts("sweep-1/", heldout, range(len(heldout)), size, Sampling(2, 1.0, 1.0, 60)),
    ]
    total = 0
    for part in parts:
        rows = [
            Response(heldout.ids[row], sample, f"{row} " * 9000, 5, False, 1.0, "1", row % 2 == 0)
            for row in part.rows
            for sample in range(part.sampling.samples_per_problem)
        ]
        total += sum(len(one.text) for one in rows)
        with folder.write(part.name) as path:
            write_responses(path, rows)
    work = Work(EVALUATE, Turn(run, None), folder, StageClock())
    report = build_report(work, parts)
    assert report.tests["heldout"].accuracy.problems == report.temperatures[0].balance.problems == 400
    assert total > 30 * MEBIBYTE
    assert peak_of(lambda: build_report(work, parts)) < total / 8
