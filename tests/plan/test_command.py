"""`mstar plan` before, during and after the smoke run: what it says holds, and it touches nothing."""

import shutil
from pathlib import Path

import pytest

from mstar.config import Config
from mstar.config_file import load_config
from mstar.errors import UserError
from mstar.plan.amounts import Amount, Need
from mstar.plan.arithmetic import Plan
from mstar.plan.finished import read_finished
from mstar.plan.forecast import plan_config, plan_from, plans_of
from mstar.plan.table import say_left, tell_left
from mstar.progress import PlainProgress
from mstar.records import from_json
from mstar.report.expectation import PlanRow, plan_rows
from mstar.report.page import write_report
from mstar.starting import open_run
from tests.commands import mstar
from tests.smoke import SMOKE, fingerprints, result_of, smoke_arguments


def arguments(problems: Path, output: Path, *more: str) -> list[str]:
    return ["plan", *smoke_arguments(problems, output)[1:], *more]


def smoke_config(problems: Path, output: Path) -> Config:
    _, _, *settings = smoke_arguments(problems, output)
    return load_config(SMOKE, settings[1::2])


def took(output: Path) -> dict[str, dict[str, float]]:
    """What the smoke run left, counted from its files."""
    parts = list(output.rglob("*.parquet"))
    both = [
        {stage: result_of(output, turn, stage) for stage in ("generate", "select", "train")}
        for turn in (0, 1)
    ]
    return {
        "generate": {
            "responses": sum(one["generate"]["responses"] for one in both),
            "response_tokens": sum(one["generate"]["response_tokens"] for one in both),
            "part_bytes": sum(part.stat().st_size for part in parts if part.parent.name == "generate"),
        },
        "select": {
            "responses": sum(one["select"]["kept"] for one in both),
            "part_bytes": sum(part.stat().st_size for part in parts if part.parent.name == "select"),
        },
        "train": {
            "responses": sum(one["train"]["examples"] for one in both),
            "response_tokens": sum(one["train"]["response_tokens"] for one in both),
            "train_steps": sum(one["train"]["train_steps"] for one in both),
        },
        "evaluate": {
            "responses": 3 * (32 + 2 * 16 * 2),
            "part_bytes": sum(part.stat().st_size for part in parts if "evaluate" in part.parts),
        },
        "all": {"part_bytes": sum(part.stat().st_size for part in parts)},
    }


def check_holds(plan: Plan, counted: dict[str, dict[str, float]]) -> None:
    for name, numbers in counted.items():
        whole = (plan.total if name == "all" else plan.stages[name]).whole
        for field, number in numbers.items():
            amount: Amount = getattr(whole, field)
            assert amount.holds(number), f"{name} {field} {number} {amount}"


def test_the_plan_before_a_run_holds_what_the_run_took(
    finished: Path, problems: Path, tmp_path: Path
) -> None:
    done = mstar(*arguments(problems, tmp_path / "run", "--json"))
    plan = from_json(Plan, done.stdout)
    assert not (tmp_path / "run").exists()
    check_holds(plan, took(finished))
    assert plan.stages["generate"].whole.responses.low == plan.stages["generate"].whole.responses.high == 256
    checkpoints = [
        sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        for folder in finished.rglob("checkpoint-*")
    ]
    assert len(checkpoints) == 2 and plan.checkpoint_bytes and plan.checkpoints_bytes
    assert all(plan.checkpoint_bytes.holds(size) for size in checkpoints)
    assert plan.checkpoints_bytes.holds(sum(checkpoints))
    assert plan.checkpoint_bytes.expected == pytest.approx(checkpoints[0], rel=0.01)


def test_the_plan_of_every_moment_holds_what_the_run_took(finished: Path) -> None:
    run = open_run(str(finished))
    places, counted = read_finished(run), took(finished)
    for number in range(len(places) + 1):
        check_holds(plan_from(run, places[:number]), counted)
    plan = plan_from(run, places)
    assert plan.stages["train"].whole.train_steps.low == counted["train"]["train_steps"]
    assert plan.total.left == Need() and plan.total.whole == plan.total.done
    assert plan.total.done.part_bytes.low == counted["all"]["part_bytes"]
    first = plan_from(run, [one for one in places if one.place[0] in (None, 0)])
    assert first.finished_iterations == 1 and first.rates.origin == "this run, up to iteration 0"
    assert first.total.left.seconds and first.total.left.seconds.expected


def test_a_table_for_people(finished: Path, problems: Path, tmp_path: Path) -> None:
    lines = mstar(*arguments(problems, tmp_path / "run")).stdout.splitlines()
    assert lines[0] == "run smoke: 2 iterations, 0 finished"
    assert lines[2].split() == ["at", "least", "expected", "at", "most"]
    assert len({len(line) for line in lines[2 : lines.index("", 2)]}) == 1
    assert "Hours are not known: nothing has been measured yet; --trial does, in about a minute." in lines
    before = fingerprints(finished)
    begun = mstar(*arguments(problems, finished)).stdout
    assert begun.startswith("run smoke: 2 iterations, 2 finished") and "Hours" not in begun
    assert fingerprints(finished) == before


def test_a_run_says_what_is_left_and_its_report_compares(finished: Path) -> None:
    run = open_run(str(finished))
    places = read_finished(run)
    plans = plans_of(run)
    assert plans and plans[0] == plan_from(run, [one for one in places if one.place[0] in (None, 0)])
    assert say_left(plans[0], plans[0])
    line = say_left(*plans)
    assert line and line.startswith("2 of 2 iterations: about 0.0 s left of ")
    assert "; planned after iteration 0: " in line
    rows = {(row.stage, row.what): row for row in plan_rows(*plans)}
    assert rows["generate", "responses"] == PlanRow("generate", "responses", "256", "256", "256", "")
    assert rows["all", "time"].planned != "" and rows["all", "time"].bounds == ""
    report = (finished / "report.html").read_text()
    assert '<table id="planned">' in report and "this run, up to iteration 1" in report


def test_the_line_while_a_run_goes(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tell_left(open_run(str(finished)), PlainProgress())
    assert capsys.readouterr().out.startswith("2 of 2 iterations: about 0.0 s left of ")


def test_before_the_first_iteration_there_is_nothing_to_compare(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("iterations", ".*"))
    assert plans_of(open_run(str(tmp_path / "run"))) is None


def test_without_the_problem_files_a_report_does_without_the_plan(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoint-*", ".*"))
    text = (tmp_path / "run/run.yaml").read_text()
    (tmp_path / "run/run.yaml").write_text(text.replace("train.parquet", "gone.parquet"))
    run = open_run(str(tmp_path / "run"))
    assert plans_of(run) is None
    write_report(run)
    assert '<table id="planned">' not in (tmp_path / "run/report.html").read_text()


def test_a_trial_measures_and_touches_nothing_of_the_run(problems: Path, tmp_path: Path) -> None:
    plan = plan_config(smoke_config(problems, tmp_path / "run"), with_trial=True)
    assert plan.rates.origin == "a trial of 64 responses"
    assert not (tmp_path / "run").exists()
    for stage in plan.stages.values():
        assert stage.whole.seconds and stage.whole.seconds.expected and stage.whole.seconds.expected > 0
    tokens = plan.stages["generate"].whole.response_tokens
    assert tokens.expected and tokens.holds(tokens.expected)
    assert plan.stages["train"].whole.train_steps.expected


def test_a_trial_of_problems_that_the_model_cannot_read_says_so(problems: Path, tmp_path: Path) -> None:
    config = smoke_config(problems, tmp_path / "run")
    short = config.model_copy(update={"prompt": config.prompt.model_copy(update={"max_tokens": 1})})
    with pytest.raises(UserError, match="can read none of the first 16 problems of iteration 0"):
        plan_config(short, with_trial=True)


def test_a_run_that_has_measured_needs_no_trial(finished: Path, problems: Path) -> None:
    plan = plan_config(smoke_config(problems, finished), with_trial=True)
    assert plan.rates.origin == "this run, up to iteration 1"


def test_the_plan_of_a_run_with_another_setting_is_refused(finished: Path, problems: Path) -> None:
    config = smoke_config(problems, finished)
    other = config.model_copy(update={"seed": 5})
    with pytest.raises(UserError, match="was started with seed = 0, now it is 5"):
        plan_config(other)
