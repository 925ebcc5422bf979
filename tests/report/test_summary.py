"""summary.json and metrics.jsonl: what they say of a run, complete or not."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstar.report.comparison import paired_interval
from mstar.report.headline import say_headline
from mstar.report.page import write_report
from mstar.report.summary import Summary, hash_config, summarise
from mstar.rundir import RunDir
from mstar.stages import GENERATE, stage_prefix
from mstar.starting import open_run
from mstar.storage import read_text, write_text
from tests.test_growth import peak_of

Make = Callable[..., RunDir]


def read_summary(run: RunDir) -> Any:
    return json.loads(read_text(run.storage, "summary.json"))


def read_lines(run: RunDir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read_text(run.storage, "metrics.jsonl").splitlines()]


def read_measured(run: RunDir, iteration: int | None) -> Any:
    return json.loads(read_text(run.storage, f"{stage_prefix('evaluate', iteration)}/manifest.json"))[
        "result"
    ]


def test_tests_are_in_the_order_of_the_config_with_first_last_and_best(make: Make) -> None:
    run = make(iterations=4, tests=("strips", "another", "bars"))
    write_report(run)
    tests = read_summary(run)["tests"]
    assert list(tests) == ["strips", "another", "bars"]
    for name in tests:
        first, last = (read_measured(run, iteration)["tests"][name]["accuracy"] for iteration in (None, 3))
        assert tests[name]["first"] == {**_as_measured(first), "iteration": None}
        assert tests[name]["last"] == {**_as_measured(last), "iteration": 3}
    every = [read_measured(run, i)["tests"]["strips"]["accuracy"]["value"] for i in (None, 0, 1, 2, 3)]
    assert tests["strips"]["best"]["accuracy"] == max(every)


def _as_measured(estimate: dict[str, Any]) -> dict[str, Any]:
    return {"accuracy": estimate["value"], **{key: estimate[key] for key in ("low", "high", "problems")}}


def test_times_and_memory(make: Make) -> None:
    summary = summarise(make(iterations=2))
    assert summary.iterations == 2
    assert summary.wall_clock_seconds == 70.0
    assert summary.seconds["generate"] == 18.0 and summary.seconds["evaluate"] == 12.0
    assert summary.inside_seconds["train"] == pytest.approx(10.8) and summary.inside_seconds["select"] == 0
    assert summary.overhead_share == pytest.approx(1 - sum(summary.inside_seconds.values()) / 70.0, abs=1e-6)
    assert summary.peak_memory_bytes == 3 * 2**30


def test_wall_clock_without_the_loops_own_timing_is_the_sum_of_the_stages(make: Make) -> None:
    run = make(iterations=2)
    run.storage.remove("timing.json")
    summary = summarise(run)
    assert summary.wall_clock_seconds == pytest.approx(sum(summary.seconds.values()))
    assert summary.peak_memory_bytes == 2 * 2**30


def test_wall_clock_is_at_least_the_stages_when_a_killed_start_counted_nothing(make: Make) -> None:
    run = make(iterations=2)
    write_text(run.storage, "timing.json", '{"wall_clock_seconds": 1.5, "peak_memory_bytes": 1}')
    summary = summarise(run)
    assert summary.wall_clock_seconds == pytest.approx(sum(summary.seconds.values()))
    assert summary.overhead_share is not None and 0 <= summary.overhead_share < 1


def test_temperatures_come_with_the_reason_of_the_decision_before(make: Make) -> None:
    choices = summarise(make(iterations=3)).temperatures
    assert [(choice.iteration, choice.temperature) for choice in choices] == [
        (0, 1.0),
        (1, 0.7),
        (2, 1.0),
        (3, 1.3),
    ]
    assert choices[0].reason == "first temperature: generate.temperature"
    assert choices[1].reason == "highest reward_pass_at_k 0.70 of 3 temperatures"


def test_sweeps_keep_what_was_measured(make: Make) -> None:
    run = make(iterations=2, prm=False)
    write_report(run)
    sweeps = read_summary(run)["sweeps"]
    assert [sweep["iteration"] for sweep in sweeps] == [None, 0, 1]
    assert sweeps[2]["temperatures"] == read_measured(run, 1)["temperatures"]
    assert sweeps[0]["temperatures"][0]["reward_pass_at_k"] is None


def test_change_counts_the_problems_that_went_either_way(make: Make) -> None:
    run = make(iterations=3)
    change = summarise(run).change
    assert change is not None and change.problems == 90 and change.gained > change.lost > 0
    first, last = (
        read_measured(run, iteration)["tests"]["strips"]["accuracy"]["value"] for iteration in (None, 2)
    )
    assert change.change == pytest.approx(last - first)
    assert 0 < change.low < change.change < change.high < 1


def test_a_comparison_has_a_few_responses_in_memory(make: Make) -> None:
    letters, problems = 40_000, 300
    run = make(iterations=2, problems=problems, answer=lambda gold, right: f"{right} " + letters * gold[:1])
    found: list[Summary] = []
    assert peak_of(lambda: found.append(summarise(run))) < letters * problems
    assert found[0].change and found[0].change.problems == problems


def test_every_test_set_has_its_change_and_what_fell_is_named(make: Make) -> None:
    run = make(iterations=3, tests=("strips", "reworded", "bars"), falling=("reworded",))
    write_report(run)
    summary = read_summary(run)
    assert summary["fallen"] == ["reworded"]
    for name, test in summary["tests"].items():
        assert test["change"]["problems"] == 90
        assert test["change"]["change"] == pytest.approx(test["last"]["accuracy"] - test["first"]["accuracy"])
        assert (test["change"]["high"] < 0) == (name == "reworded")


def test_what_fell_is_told_by_the_intervals_where_responses_are_gone(make: Make) -> None:
    run = make(iterations=3, tests=("strips", "reworded"), falling=("reworded",))
    for key in run.storage.keys("start/evaluate/test-reworded/"):
        run.storage.remove(key)
    summary = summarise(run)
    assert summary.tests["reworded"].change is None and summary.fallen == ("reworded",)


def test_the_last_line_says_what_rose_and_what_fell(make: Make) -> None:
    fell = say_headline(summarise(make(iterations=3, tests=("strips", "reworded"), falling=("reworded",))))
    assert re.fullmatch(
        r"accuracy on strips rose from 3\d\.\d% to \d\d\.\d% \(\+.* points \[\+.*, \+.*\] on 90 problems\); "
        r"it fell on reworded from \d\d\.\d% to \d\d?\.\d% \(-.* points \[-.*, -.*\] on 90 problems\)",
        fell,
    )
    assert "fell" not in say_headline(summarise(make(iterations=3)))
    lost = say_headline(summarise(make(iterations=3, tests=("few",), problems=1, falling=("few",))))
    assert lost.startswith("accuracy on few changed within the noise, from")
    assert say_headline(summarise(make(iterations=0))).startswith("accuracy on strips is ")
    assert say_headline(summarise(make(iterations=0, start=False))) == ""


def test_config_hash_ignores_the_output_only(make: Make) -> None:
    config = make(iterations=0).config
    moved = config.model_copy(update={"output": "elsewhere"})
    reseeded = config.model_copy(update={"seed": 7})
    assert hash_config(config) == hash_config(moved) != hash_config(reseeded)
    assert len(hash_config(config)) == 64


def test_versions_name_what_is_installed(make: Make) -> None:
    import numpy

    from mstar import __version__

    versions = summarise(make(iterations=0)).versions
    assert versions["mstar"] == __version__ and versions["numpy"] == numpy.__version__
    assert list(versions) == ["mstar", "python", "torch", "transformers", "numpy", "pyarrow"]


def test_metric_lines_are_one_per_finished_stage_in_order(make: Make) -> None:
    run = make(iterations=2, unfinished=("generate", "score"))
    write_report(run)
    stages = ["generate", "score", "select", "train", "evaluate", "adapt"]
    expected = [
        (None, "evaluate"),
        *((i, stage) for i in (0, 1) for stage in stages),
        (2, "generate"),
        (2, "score"),
    ]
    lines = read_lines(run)
    assert [(line["iteration"], line["stage"]) for line in lines] == expected
    assert all(line["seconds"] > 0 for line in lines)


def test_metric_lines_carry_facts_accuracies_and_decisions(make: Make) -> None:
    run = make(iterations=2)
    write_report(run)
    by_place = {(line["iteration"], line["stage"]): line for line in read_lines(run)}
    sampled = asdict(run.result(GENERATE, 1)) | {"unusable": 0}
    assert sampled.items() <= by_place[1, "generate"].items()
    measured = read_measured(run, 1)
    line = by_place[1, "evaluate"]
    assert line["accuracy.strips"] == measured["tests"]["strips"]["accuracy"]["value"]
    assert line["accuracy.six-terms.low"] == measured["tests"]["six-terms"]["accuracy"]["low"]
    assert line["pass_at_8.temperature_0.7"] == measured["temperatures"][0]["pass_at_k"]["8"]["value"]
    assert (
        line["reward_pass_at_2.temperature_1.3"] == measured["temperatures"][2]["reward_pass_at_k"]["value"]
    )
    assert by_place[0, "adapt"]["next_temperature"] == 0.7 and by_place[0, "adapt"]["stop"] is False
    assert all(not isinstance(value, dict | list) for line in by_place.values() for value in line.values())


def test_writing_twice_gives_the_same_files(make: Make) -> None:
    run = make(iterations=2)
    names = ("summary.json", "metrics.jsonl", "report.html")
    write_report(run)
    first = [read_text(run.storage, name) for name in names]
    write_report(run)
    assert [read_text(run.storage, name) for name in names] == first


def test_a_stage_without_timing_counts_no_seconds(make: Make) -> None:
    run = make(iterations=1)
    run.storage.remove("iterations/000/train/timing.json")
    write_report(run)
    assert "train" not in read_summary(run)["seconds"]
    assert [line["seconds"] for line in read_lines(run) if line["stage"] == "train"] == [None]


def test_a_damaged_evaluation_is_left_out_and_named(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    run = make(iterations=2)
    key = "iterations/001/evaluate/manifest.json"
    write_text(run.storage, key, read_text(run.storage, key).replace('"accuracy"', '"acuracy"'))
    assert summarise(run).tests["strips"].last.iteration == 0
    assert "iterations/001/evaluate has no readable result" in caplog.text


def test_a_moved_run_is_still_read(make: Make, tmp_path: Path) -> None:
    run = make(iterations=1)
    moved = tmp_path / "moved"
    shutil.copytree(run.config.output, moved)
    assert summarise(open_run(str(moved))).iterations == 1


def test_the_report_needs_neither_torch_nor_matplotlib(make: Make) -> None:
    run = make(iterations=1)
    code = (
        "import sys; from mstar.report.page import write_report; from mstar.starting import open_run; "
        "write_report(open_run(sys.argv[1])); "
        "assert not {'torch', 'transformers', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, run.config.output], check=True, timeout=120)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 300))
def test_paired_interval_holds_its_value_and_mirrors(gained: int, lost: int, unchanged: int) -> None:
    problems = gained + lost + unchanged
    low, high = paired_interval(gained, lost, problems)
    assert -1 <= low <= (gained - lost) / problems <= high <= 1
    assert paired_interval(lost, gained, problems) == pytest.approx((-high, -low))


def test_paired_interval_is_close_to_walds_where_there_are_many_problems() -> None:
    """Difference 64 / 1600 with standard error sqrt(236 - 64^2 / 1600) / 1600 = 0.00955."""
    assert paired_interval(150, 86, 1600) == pytest.approx(
        (0.04 - 1.96 * 0.00955, 0.04 + 1.96 * 0.00955), abs=2e-4
    )


def test_paired_interval_is_not_empty_where_nothing_changed() -> None:
    low, high = paired_interval(0, 0, 50)
    assert low < -0.01 and high > 0.01
