"""`mstar init`: the real command, and that what it writes is a config."""

import json
from contextlib import chdir
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from mstar.config_file import load_config
from mstar.errors import UserError
from mstar.looking import count_parameters, files_of, look_at_model
from mstar.sizing import too_few_steps
from tests.commands import mstar
from tests.conftest import BASE, PROBLEMS, QUICKSTART


def init(*arguments: object, cwd: Path) -> CompletedProcess[str]:
    with chdir(cwd):
        return mstar("init", *map(str, arguments), check=False)


def write_rows(path: Path, count: int) -> Path:
    rows = (
        {"id": f"p{n}", "question": "1 + 1?", "answer": "2", "answer_type": "number"} for n in range(count)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_it_looks_and_writes_a_config_with_reasons(tmp_path: Path) -> None:
    files = [
        ("--train", "train"),
        ("--validation", "validation"),
        ("--test", "heldout"),
        ("--test", "six_terms"),
    ]
    named = [part for option, name in files for part in (option, PROBLEMS / f"{name}.parquet")]
    done = init("--model", BASE, *named, "--prm", QUICKSTART / "prm", "--output", "mine.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "model: qwen3_vl, 1.3 million parameters" in done.stdout
    assert "train: 2000 problems; boolean 667, number 667, choice 666; 2000 with images" in done.stdout
    config = load_config(tmp_path / "mine.yaml")
    assert (config.name, list(config.data.tests)) == ("mine", ["heldout", "six_terms"])
    assert config.model.path == str(BASE) and config.data.train == str(PROBLEMS / "train.parquet")
    assert config.adapt.policy == "reward_pass_at_k" and config.prompt.step_separator == ";"
    assert config.generate.max_tokens == 256
    assert too_few_steps(config, 2000) is None
    text = (tmp_path / "mine.yaml").read_text()
    lines = text.splitlines()
    for setting in ("iterations:", "generate:", "train:", "evaluate:", "prompt:"):
        place = next(number for number, line in enumerate(lines) if line.startswith(setting))
        assert lines[place - 1].startswith("# "), setting


def test_paths_are_relative_to_the_config_where_they_lie_below_it(tmp_path: Path) -> None:
    write_rows(tmp_path / "train problems.jsonl", 300)
    write_rows(tmp_path / "null.jsonl", 60)
    done = init(
        "--model", "owner/model", "--train", "train problems.jsonl", "--test", "null.jsonl", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    config = load_config(tmp_path / "config.yaml")
    assert config.name == "train-problems" and config.output == "runs/train-problems"
    assert config.data.train == str(tmp_path / "train problems.jsonl")
    assert config.data.tests == {"null": str(tmp_path / "null.jsonl")}
    assert config.model.path == "owner/model" and config.adapt.policy == "fixed"
    text = (tmp_path / "config.yaml").read_text()
    assert str(tmp_path) not in text and "No validation file" in text


def test_own_names_of_columns_go_into_the_config(tmp_path: Path) -> None:
    rows = [{"problem": f"{number} + 1?", "solution: gold": str(number + 1)} for number in range(60)]
    for name in ("train.jsonl", "test.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "test.csv").write_text("problem,solution: gold\n1 + 1?,2\n")
    files = ("--model", BASE, "--train", "train.jsonl", "--test")
    refused = init(*files, "test.csv", cwd=tmp_path)
    assert refused.returncode == 2
    assert "it has problem, solution: gold; other names are told with data.columns, or" in refused.stderr
    said = init(*files, "test.jsonl", "--output", "other.yaml", cwd=tmp_path).stdout
    assert "train.jsonl has no row that can be used; if its columns have names of their own, tell" in said
    own = ("--column", "question=problem", "--column", "answer=solution: gold")
    done = init(*files, "test.csv", "--test", "test.jsonl", *own, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "train: 60 problems; number 60; 0 with images\n" in done.stdout
    config = load_config(tmp_path / "config.yaml")
    assert config.data.columns == {"question": "problem", "answer": "solution: gold"}
    assert mstar("problems", "check", config.data.train, *own).returncode == 0


def test_a_small_validation_set_is_no_sweep(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", 300)
    write_rows(tmp_path / "few.jsonl", 20)
    init("--model", BASE, "--train", "train.jsonl", "--validation", "few.jsonl", cwd=tmp_path)
    config = load_config(tmp_path / "config.yaml")
    assert config.adapt.policy == "fixed" and list(config.data.tests) == ["validation"]


def test_a_large_file_is_sampled(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", 20_001)
    write_rows(tmp_path / "test.jsonl", 10)
    done = init("--model", BASE, "--train", "train.jsonl", "--test", "test.jsonl", cwd=tmp_path)
    assert "train: 20001 problems; of 953 looked at: number 953; 0 with images" in done.stdout


def test_bad_rows_are_said(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "train.jsonl", 10)
    path.write_text(path.read_text() + '{"id": "broken"}\n')
    write_rows(tmp_path / "test.jsonl", 10)
    done = init("--model", BASE, "--train", "train.jsonl", "--test", "test.jsonl", cwd=tmp_path)
    assert "0 with images; 1 bad row\n" in done.stdout
    assert "mstar problems check train.jsonl names the bad rows" in done.stdout


def test_problems_without_an_answer_are_said(tmp_path: Path) -> None:
    """As the run would say it: those that measure need answers, and training needs some."""
    for name in ("train", "validation", "test"):
        path = write_rows(tmp_path / f"{name}.jsonl", 60)
        path.write_text(path.read_text().replace('"answer": "2"', '"answer": null', 3))
    files = ("--train", "train.jsonl", "--validation", "validation.jsonl", "--test", "test.jsonl")
    done = init("--model", BASE, *files, cwd=tmp_path)
    assert done.returncode == 0
    assert "train: 60 problems; number 60; 0 with images; 3 without an answer\n" in done.stdout
    for name in ("validation", "test"):
        assert f"{name}.jsonl has 3 problems without an answer, and a run measures with" in done.stdout
    assert "no answers at all" not in done.stdout
    assert "60 problems; number 60; 0 with images; 3 without" in (tmp_path / "config.yaml").read_text()
    refused = mstar("prepare", str(tmp_path / "config.yaml"), check=False)
    assert refused.returncode == 2 and "has 3 problems without an answer" in refused.stderr
    text = (tmp_path / "train.jsonl").read_text()
    (tmp_path / "train.jsonl").write_text(text.replace('"answer": "2"', '"answer": null'))
    done = init("--model", BASE, *files, "--output", "other.yaml", cwd=tmp_path)
    assert "train.jsonl has no answers at all; a run needs some to learn from" in done.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ("--model", "nowhere", "--test", "train.jsonl"),
            "--model is nowhere; name a folder with a config.json",
        ),
        (("--model", "."), "there is nothing to measure on; take about 2 problems out of train.jsonl"),
        (("--model", BASE, "--test", "none.jsonl"), "none.jsonl does not exist"),
        (
            ("--model", BASE, "--test", "train.jsonl", "--prm", BASE),
            "which has no prm.json with a step_separator",
        ),
        (("--model", BASE, "--test", "train.jsonl", "--output", "here.yaml"), "here.yaml exists already"),
        (
            ("--model", BASE, "--test", "train.jsonl", "--output", "no/where.yaml"),
            "no/where.yaml cannot be written",
        ),
    ],
)
def test_what_it_refuses(tmp_path: Path, arguments: tuple[object, ...], message: str) -> None:
    write_rows(tmp_path / "train.jsonl", 10)
    (tmp_path / "here.yaml").write_text("mine")
    done = init("--train", "train.jsonl", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here.yaml", "train.jsonl"]
    assert (tmp_path / "here.yaml").read_text() == "mine"


def test_parameters_are_counted_from_headers(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file(
        {"a": torch.zeros(3, 4), "b": torch.zeros(())}, tmp_path / "model-1.safetensors", {"format": "pt"}
    )
    save_file({"c": torch.zeros(5)}, tmp_path / "model-2.safetensors")
    save_file({"moments": torch.zeros(99)}, tmp_path / "training_state.safetensors")
    assert count_parameters(files_of(str(tmp_path))) == 18
    assert count_parameters(files_of(str(tmp_path / "empty"))) is None


@pytest.mark.parametrize(
    "contents", [b"", b"\x00" * 7, b"\xff" * 64, b"\x02" + b"\x00" * 7 + b"[]", b"version https://git-lfs"]
)
def test_damaged_weights_are_one_clear_line(tmp_path: Path, contents: bytes) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen3_vl"}')
    (tmp_path / "model.safetensors").write_bytes(contents)
    with pytest.raises(UserError, match="model.safetensors is no safetensors file; copy the model again"):
        look_at_model(str(tmp_path))
