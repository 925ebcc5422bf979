"""Whole runs in a bucket: the files are those of a run in a folder."""

import hashlib
import json
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mstar.stages import STAGE_NAMES
from tests.commands import at_once, mstar
from tests.smoke import VARIES, fingerprints, smoke_arguments
from tests.storage import servers


@pytest.fixture
def output(moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a run that is not there yet, which commands reach by their environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    return f"s3://{servers.BUCKET}/runs/{uuid.uuid4().hex}"


def bucket_fingerprints(address: str, output: str) -> dict[str, str]:
    """The hash of every file that must not vary, by the bytes that the server has."""
    prefix = output.removeprefix(f"s3://{servers.BUCKET}/") + "/"
    found = {}
    with servers.client(urlsplit(address).port or 0) as client:
        for key in client.keys(prefix):
            if key.rpartition("/")[2] not in VARIES:
                found[key.removeprefix(prefix)] = hashlib.sha256(client.read(key)).hexdigest()
    return found


def test_a_run_in_a_bucket_leaves_the_files_of_one_in_a_folder(
    problems: Path, finished: Path, moto: str, output: str, tmp_path: Path
) -> None:
    done = mstar(*smoke_arguments(problems, output))
    assert f"report: {output}/report.html" in done.stdout
    assert bucket_fingerprints(moto, output) == fingerprints(finished)
    with servers.client(urlsplit(moto).port or 0) as client:
        name = output.removeprefix(f"s3://{servers.BUCKET}/") + "/report.html"
        headers = client.headers(name)
        assert headers["content-type"] == "text/html; charset=utf-8"
        assert headers["x-amz-meta-sha256"] == hashlib.sha256(client.read(name)).hexdigest()
    mstar("report", output)
    again = mstar(*smoke_arguments(problems, output))
    assert "accuracy" in again.stdout
    mstar("export", output, str(tmp_path / "policy"))
    mstar("export", str(finished), str(tmp_path / "same"))
    weights = [(tmp_path / folder / "model.safetensors").read_bytes() for folder in ("policy", "same")]
    assert weights[0] == weights[1]


def test_shards_with_caches_of_their_own(
    problems: Path, finished: Path, moto: str, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes on each of two shards, as four machines would be."""
    mstar(*smoke_arguments(problems, output), "--prepare")
    groups = [["evaluate", "--run", output]]
    groups += [[stage, "--run", output, "--iteration", "0"] for stage in STAGE_NAMES]
    for group in groups:
        sharded = group[0] in ("generate", "score", "evaluate")
        shards = [["--shard", f"{k}/2"] for k in (1, 1, 2, 2)] if sharded else [[], []]
        caches = [{"MSTAR_CACHE": str(tmp_path / f"machine-{number}")} for number in range(len(shards))]
        at_once(([*group, *shard] for shard in shards), caches)
    expected = {
        key: value for key, value in fingerprints(finished).items() if not key.startswith("iterations/001/")
    }
    found = bucket_fingerprints(moto, output)
    state = "iterations/001/state.json"
    assert found.pop(state) == fingerprints(finished)[state]
    assert found == expected


@pytest.mark.parametrize("command", ["run", "report", "select", "export"])
def test_a_bucket_that_is_not_there_is_one_line(
    problems: Path, output: str, tmp_path: Path, command: str
) -> None:
    missing = output.replace("s3://runs/", "s3://other-runs/")
    commands = {
        "run": smoke_arguments(problems, Path(missing)),
        "report": ["report", missing],
        "select": ["select", "--run", missing, "--iteration", "0"],
        "export": ["export", missing, str(tmp_path / "policy")],
    }
    if command == "run":
        commands["run"] = [part.replace("s3:/other", "s3://other") for part in commands["run"]]
    done = mstar(*commands[command], check=False)
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
    mstar(*smoke_arguments(problems, output, f"storage.endpoint={moto}"), "--prepare")
    assert "run.yaml" in {json.dumps(key)[1:-1] for key in bucket_keys(moto, output)}


def bucket_keys(address: str, output: str) -> list[str]:
    prefix = output.removeprefix(f"s3://{servers.BUCKET}/") + "/"
    with servers.client(urlsplit(address).port or 0) as client:
        return [key.removeprefix(prefix) for key in client.keys(prefix)]
