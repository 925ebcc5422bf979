"""`mstar init` with addresses: what it says of files here, and a config that names the addresses."""

import json
from pathlib import Path

import pytest

from mstar.config_file import load_config
from tests.commands import mstar
from tests.conftest import BASE, QUICKSTART
from tests.hub import serve_hub
from tests.storage.faults import proxy
from tests.storage.uploads import Uploads


def test_files_and_models_in_a_bucket(
    uploads: Uploads, moto: str, problems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, name in ((BASE, "base"), (QUICKSTART / "prm", "prm")):
        for path in folder.iterdir():
            uploads.put(f"{name}/{path.name}", path.read_bytes())
    for name in ("train", "validation", "heldout"):
        uploads.put(f"problems/{name}.parquet", (problems / f"{name}.parquet").read_bytes())
    at = uploads.address

    def init(model: str, files: str, prm: str, output: str) -> list[str]:
        named = [("--train", "train"), ("--validation", "validation"), ("--test", "heldout")]
        given = [part for option, name in named for part in (option, f"{files}/{name}.parquet")]
        done = mstar("init", "--model", model, *given, "--prm", prm, "--output", str(tmp_path / output))
        return done.stdout.splitlines()[:4]

    with proxy(moto) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.address)
        of_addresses = init(f"{at}/base", f"{at}/problems", f"{at}/prm", "there.yaml")
        assert server.sent_bytes < (BASE / "model.safetensors").stat().st_size
    assert of_addresses == init(str(BASE), str(problems), str(QUICKSTART / "prm"), "here.yaml")
    config = load_config(tmp_path / "there.yaml")
    assert config.model.path == f"{at}/base" and config.score.prm == f"{at}/prm"
    assert config.data.train == f"{at}/problems/train.parquet" and list(config.data.tests) == ["heldout"]
    here = load_config(tmp_path / "here.yaml")
    same = ("prompt", "iterations", "train", "evaluate", "adapt", "generate")
    assert all(getattr(config, section) == getattr(here, section) for section in same)


def test_what_is_not_there_is_one_line(uploads: Uploads, problems: Path, tmp_path: Path) -> None:
    train, test = str(problems / "train.parquet"), str(problems / "heldout.parquet")
    gone = f"{uploads.address}/gone"
    for given, line in (
        (["--model", gone, "--train", train], "--model is s3://"),
        (["--model", str(BASE), "--train", f"{gone}.jsonl"], "gone.jsonl"),
        (["--model", str(BASE), "--train", train, "--prm", gone], "which has no prm.json"),
    ):
        done = mstar("init", *given, "--test", test, "--output", str(tmp_path / "config.yaml"), check=False)
        assert done.returncode == 2
        (said,) = done.stderr.splitlines()
        assert line in said


def test_problems_and_a_reward_model_on_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": f"p{n}", "question": "1 + 1?", "answer": "2", "answer_type": "number"} for n in range(60)]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    with serve_hub(tmp_path / "hub") as hub:
        hub.add("datasets", "me/sums", "1" * 40, {"train.jsonl": lines, "test.jsonl": lines})
        facts = {"prm.json": b'{"step_separator": ";"}', "weights.bin": b"large"}
        hub.add("models", "me/prm", "2" * 40, facts)
        given = ["--train", "hf://datasets/me/sums/train", "--test", "hf://datasets/me/sums/test"]
        output = tmp_path / "sums.yaml"
        given += ["--model", "me/model", "--prm", "me/prm", "--output", str(output)]
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
        done = mstar("init", *given)
        assert not any("weights.bin" in asked for asked in hub.asked)
    assert "train: 60 problems; number 60; 0 with images" in done.stdout
    config = load_config(output)
    assert config.data.train == "hf://datasets/me/sums/train"
    assert config.data.tests == {"test": "hf://datasets/me/sums/test"}
    assert (config.score.prm, config.prompt.step_separator) == ("me/prm", ";")
