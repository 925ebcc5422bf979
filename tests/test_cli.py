"""The real command in an empty folder: what it prints, what it refuses, and that a refusal writes nothing."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import chdir
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests import commands
from tests.conftest import BASE, QUICKSTART, ROOT
from tests.serving import free_port
from tests.smoke import smoke_arguments

MAX_LINES = 8


def mstar(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    with chdir(cwd):
        return commands.mstar(*arguments, check=False)


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with a small problem file and a config that would run."""
    image = BytesIO()
    Image.new("L", (84, 28), 200).save(image, "PNG")
    (tmp_path / "strip.png").write_bytes(image.getvalue())
    write_problems(tmp_path, lambda row: row)
    write_config(tmp_path, lambda tree: tree)
    return tmp_path


def write_problems(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    rows = [
        {
            "id": f"p{number}",
            "question": "value?",
            "answer": "3",
            "answer_type": "number",
            "image": "strip.png",
        }
        for number in range(4)
    ]
    rows[2] = change(rows[2])
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    tree = {
        "name": "try",
        "output": "out",
        "model": {"path": str(BASE)},
        "data": {"train": "problems.jsonl", "tests": {"heldout": "problems.jsonl"}},
        "prompt": {"version": "question-1"},
        "adapt": {"policy": "fixed"},
    }
    change(tree)
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def refused(folder: Path, *arguments: str) -> str:
    """The message of a refusal, after checking what every refusal keeps to."""
    before = files_in(folder)
    done = mstar(*(arguments or ("run", "config.yaml")), cwd=folder)
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    assert 1 <= len(done.stderr.strip().splitlines()) <= MAX_LINES
    assert files_in(folder) == before
    return done.stderr


def test_help_loads_nothing_slow(tmp_path: Path) -> None:
    code = "import sys, mstar.cli\nsys.argv = ['mstar', '--help']\n"
    code += "try: mstar.cli.main()\nexcept SystemExit: pass\n"
    slow = "{'torch', 'transformers', 'pyarrow', 'numpy', 'pydantic', 'sympy', 'PIL', 'yaml'}"
    loaded = f"print(sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code + loaded], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    assert all(
        verb in done.stdout for verb in ("run", "generate", "score", "select", "train", "evaluate", "adapt")
    )


def test_a_light_stage_loads_nothing_slow() -> None:
    """What these take to import is most of what a pod of `select` takes to start."""
    slow = "{'torch', 'transformers', 'sympy', 'jinja2', 'pyarrow.compute', 'mstar.report.page'}"
    needed = "stage_commands, mstar.run_metrics, mstar.selection, mstar.starting, mstar.tracking"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, mstar.{needed}; print(sorted({slow} & set(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_the_module_is_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mstar", "config", "none.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: none.yaml does not exist") and done.stderr.count("\n") == 1


def test_a_wrong_key_names_the_nearest(workplace: Path) -> None:
    write_config(workplace, lambda tree: tree.update(genrate={}))
    assert "genrate is not a setting; did you mean generate?" in refused(workplace)


def test_a_missing_config(workplace: Path) -> None:
    assert "none.yaml does not exist" in refused(workplace, "run", "none.yaml")


def test_a_binary_config(workplace: Path) -> None:
    (workplace / "config.yaml").write_bytes(os.urandom(300) + b"\xff\x00")
    assert "config.yaml is not" in refused(workplace)


@pytest.mark.parametrize("path", ["nowhere", "/nowhere/model", "./here/model/deep"])
def test_a_missing_model(workplace: Path, path: str) -> None:
    write_config(workplace, lambda tree: tree["model"].update(path=path))
    assert f"{path.removeprefix('./')}, which does not exist" in refused(workplace)


@pytest.mark.parametrize("path", ["nowhere", "/nowhere/model", "./here/model/deep"])
def test_a_missing_model_to_check_with(workplace: Path, path: str) -> None:
    """No hub is asked: none has a model of such a name."""
    message = refused(workplace, "problems", "check", "problems.jsonl", "--model", path)
    assert message.startswith(f"error: --model is {path}, which does not exist; name a checkpoint folder")


def test_a_model_folder_without_a_model(workplace: Path) -> None:
    (workplace / "empty").mkdir()
    write_config(workplace, lambda tree: tree["model"].update(path="empty"))
    assert "without config.json" in refused(workplace)


def test_a_missing_image(workplace: Path) -> None:
    write_problems(workplace, lambda row: {**row, "image": "none.png"})
    message = refused(workplace)
    assert "row 3" in message and "none.png" in message and "mstar problems check" in message


def test_a_broken_image(workplace: Path) -> None:
    (workplace / "half.png").write_bytes((workplace / "strip.png").read_bytes()[:60])
    write_problems(workplace, lambda row: {**row, "image": "half.png"})
    assert "half.png" in refused(workplace)


def test_a_gold_answer_that_does_not_parse(workplace: Path) -> None:
    write_problems(workplace, lambda row: {**row, "answer": "many"})
    message = refused(workplace)
    assert "row 3" in message and "many" in message


def test_an_empty_problem_file(workplace: Path) -> None:
    (workplace / "problems.jsonl").write_text("")
    assert "problems.jsonl" in refused(workplace)


def test_a_missing_problem_file(workplace: Path) -> None:
    write_config(workplace, lambda tree: tree["data"].update(train="none.jsonl"))
    assert "none.jsonl" in refused(workplace)


def test_an_output_below_a_file(workplace: Path) -> None:
    write_config(workplace, lambda tree: tree.update(output="config.yaml/out"))
    assert "is a file; choose another output" in refused(workplace)


@pytest.mark.skipif(
    os.geteuid() == 0 and not Path("/proc/self").exists(), reason="needs a place that nobody may write to"
)
def test_an_output_that_cannot_be_written(workplace: Path) -> None:
    write_config(workplace, lambda tree: tree.update(output="/proc/self/out"))
    assert "/proc/self" in refused(workplace)


def test_a_run_that_is_none(workplace: Path) -> None:
    assert "out is not a run" in refused(workplace, "report", "out")


def test_a_problem_in_use_twice(workplace: Path) -> None:
    write_problems(workplace, lambda row: {**row, "id": "p0"})
    assert "p0" in refused(workplace)


def test_problems_check_counts_and_names(workplace: Path) -> None:
    done = mstar("problems", "check", "problems.jsonl", cwd=workplace)
    assert (done.returncode, "4 rows, 4 good, 0 bad" in done.stdout) == (0, True)
    write_problems(workplace, lambda row: {**row, "answer_type": "numbr"})
    done = mstar("problems", "check", "problems.jsonl", cwd=workplace)
    assert done.returncode == 1
    assert "row 3" in done.stdout and "numbr" in done.stdout


def test_answers_judges_a_file(tmp_path: Path) -> None:
    rows = [
        {"answer": "14", "answer_type": "number", "response": "8+6=14. Answer: 14"},
        {"answer": "b", "answer_type": "choice", "choices": ["1", "2"], "response": "Answer: A"},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = mstar("answers", "rows.jsonl", cwd=tmp_path)
    judged = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["extracted"], row["correct"]) for row in judged] == [("14", True), ("A", False)]
    (tmp_path / "rows.jsonl").write_text(json.dumps({**rows[0], "answer": "x"}) + "\n")
    assert mstar("answers", "rows.jsonl", cwd=tmp_path).returncode == 1


def test_config_prints_what_would_run(tmp_path: Path) -> None:
    done = mstar("config", str(QUICKSTART / "quickstart.yaml"), "--set", "seed=9", cwd=tmp_path)
    assert yaml.safe_load(done.stdout)["seed"] == 9
    schema = json.loads(mstar("config", "--schema", cwd=tmp_path).stdout)
    assert schema["additionalProperties"] is False


def test_metrics_are_served_while_a_run_goes(problems: Path, tmp_path: Path) -> None:
    import urllib.error
    import urllib.request

    port = free_port()
    process = commands.start(*smoke_arguments(problems, tmp_path / "out"), "--metrics-port", str(port))
    try:
        text = ""
        for _ in range(1500):
            time.sleep(0.1)
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                    text = answer.read().decode()
            except (urllib.error.URLError, ConnectionError):
                continue
            if "mstar_accuracy_ratio{" in text:
                break
        assert 'mstar_accuracy_ratio{run="smoke",stage="evaluate",test="heldout"}' in text
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize("loaded", ["", "triton", "vllm"])
def test_what_libraries_report_as_never_freed_is_freed_at_the_end(tmp_path: Path, loaded: str) -> None:
    """Without them the last collections are skipped, which saves a second."""
    (tmp_path / f"{loaded or 'other'}.py").touch()
    code = (
        "import atexit, gc, sys, mstar.cli\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 0))\n"
        f"import {loaded or 'other'}\n"
        "sys.argv = ['mstar', '--version']\n"
        "mstar.cli.main()\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert done.stdout.splitlines()[1:] == [str(not loaded)]
