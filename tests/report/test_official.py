"""MathVista's own scoring in the report: there for MathVista, in old and in new runs, and nowhere else."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from mstar.report.page import write_report
from mstar.report.summary import summarise
from mstar.rundir import RunDir
from mstar.storage import read_text

Make = Callable[..., RunDir]
COLUMN = "MathVista’s scoring"


def test_it_stands_beside_ours_for_mathvista_only(make: Make):
    run = make(iterations=3, tests=("strips", "mathvista-testmini"))
    summary = summarise(run)
    assert summary.tests["strips"].official is None
    test, official = summary.tests["mathvista-testmini"], summary.tests["mathvista-testmini"].official
    assert official is not None and official.first.problems == test.first.problems == 90
    for ours, theirs in ((test.first, official.first), (test.last, official.last)):
        assert theirs.accuracy == ours.accuracy, "these answers are plain numbers: both agree"
        assert theirs.iteration == ours.iteration
    write_report(run)
    assert COLUMN in read_text(run.storage, "report.html")
    told = json.loads(read_text(run.storage, "summary.json"))["tests"]
    assert (
        told["strips"]["official"] is None and told["mathvista-testmini"]["official"]["last"]["accuracy"] > 0
    )


def test_a_run_without_mathvista_has_no_column(make: Make):
    run = make(iterations=2)
    write_report(run)
    assert COLUMN not in read_text(run.storage, "report.html")


def test_where_the_problem_file_is_gone_the_report_does_without(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    run = make(iterations=2, tests=("strips", "mathvista"))
    (problems,) = tmp_path.rglob("problems.jsonl")
    problems.unlink()
    with caplog.at_level(logging.WARNING, "mstar"):
        write_report(run)
    assert COLUMN not in read_text(run.storage, "report.html")
    (line,) = [record.getMessage() for record in caplog.records if "MathVista" in record.getMessage()]
    assert line.startswith("mathvista cannot be scored as MathVista does (") and "does without it" in line
