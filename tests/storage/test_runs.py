"""Whole runs in a bucket: the files are those of a run in a folder."""

import hashlib
import uuid
from pathlib import Path

import pytest

from mstar.config_storage import StorageSettings
from mstar.stagedir import Begun, StageDir
from mstar.stages import STAGE_NAMES
from mstar.storage import build_storage
from tests.commands import mstar, start
from tests.smoke import fingerprints, prepare_arguments, smoke_arguments
from tests.storage.faults import proxy
from tests.storage.servers import BUCKET, Stored


@pytest.fixture
def output(moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a run that is not there yet, which commands reach by their environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    return f"s3://{BUCKET}/runs/{uuid.uuid4().hex}"


@pytest.mark.slow
def test_a_run_in_a_bucket_leaves_the_files_of_one_in_a_folder(
    problems: Path, finished: Path, moto: str, output: str, tmp_path: Path
) -> None:
    done = mstar(*smoke_arguments(problems, output))
    assert f"report: {output}/report.html" in done.stdout
    stored = Stored(moto, output)
    assert stored.fingerprints() == fingerprints(finished)
    headers = stored.headers("report.html")
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["x-amz-meta-sha256"] == hashlib.sha256(stored.read("report.html")).hexdigest()
    mstar("report", output)
    mstar("export", output, str(tmp_path / "policy"))
    mstar("export", str(finished), str(tmp_path / "same"))
    weights = [(tmp_path / folder / "model.safetensors").read_bytes() for folder in ("policy", "same")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_shards_with_caches_of_their_own(
    problems: Path, finished: Path, moto: str, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes on each of two shards, as on four machines."""
    mstar(*prepare_arguments(problems, output))
    groups = [["evaluate", "--run", output]]
    groups += [[stage, "--run", output, "--iteration", "0"] for stage in STAGE_NAMES]
    for group in groups:
        sharded = group[0] in ("generate", "score", "evaluate")
        started = []
        for number, shard in enumerate(("1/2", "1/2", "2/2", "2/2") if sharded else ("", "")):
            monkeypatch.setenv("MSTAR_CACHE", str(tmp_path / f"machine-{number}"))
            started.append(start(*group, *(["--shard", shard] if shard else [])))
        for process in started:
            process.join()
        assert [process.exitcode for process in started] == [0] * len(started)
    begins = ("start/", "inputs.json", "iterations/000/", "iterations/001/state.json")
    expected = {key: sha256 for key, sha256 in fingerprints(finished).items() if key.startswith(begins)}
    assert Stored(moto, output).fingerprints() == expected


@pytest.mark.slow
def test_killed_runs_are_taken_up(problems: Path, finished: Path, moto: str, output: str) -> None:
    for seconds in (2.0, 3.0):
        process = start(*smoke_arguments(problems, output))
        process.join(seconds)
        process.kill()
        process.join()
    mstar(*smoke_arguments(problems, output))
    assert Stored(moto, output).fingerprints() == fingerprints(finished)


def test_a_finished_stage_is_looked_at_with_few_requests(moto: str, output: str) -> None:
    """However many files it has: its manifest, and one listing."""
    names = [f"part-{number:05d}.parquet" for number in range(40)]

    def open_stage(address: str) -> StageDir:
        storage = build_storage(output, StorageSettings(endpoint=address))
        storage.keys("none")  # the first request of a process looks whether there is such a bucket
        return StageDir(storage, "iterations/000/generate", Begun({}, 1))

    made = open_stage(moto)
    made.begin()
    for name in names:
        with made.write(name) as path:
            path.write_text(name)
    made.commit({}, names)
    with proxy(moto) as server:
        stage = open_stage(server.address)
        assert stage.done and stage.missing(names) == []
        assert len(server.seen) <= 2 + 3
        with stage.reading(names[7]) as path:
            assert path.read_text() == names[7]


@pytest.mark.parametrize("command", ["run", "report", "select", "export"])
def test_a_bucket_that_is_not_there_is_one_line(
    problems: Path, output: str, tmp_path: Path, command: str
) -> None:
    missing = output.replace(f"s3://{BUCKET}/", "s3://other-runs/")
    arguments = {
        "run": smoke_arguments(problems, missing),
        "report": ["report", missing],
        "select": ["select", "--run", missing, "--iteration", "0"],
        "export": ["export", missing, str(tmp_path / "policy")],
    }
    done = mstar(*arguments[command], check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "there is no such bucket; create it, or correct its name or storage.endpoint" in line


def test_no_credentials_are_one_line(output: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/none")
    done = mstar("report", output, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "there are no credentials for S3" in line


def test_the_configuration_says_where_the_server_is(
    problems: Path, moto: str, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    mstar(*prepare_arguments(problems, output, f"storage.endpoint={moto}"))
    assert Stored(moto, output).read("run.yaml")
