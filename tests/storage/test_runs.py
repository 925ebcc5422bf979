"""Whole runs in a bucket: the files are those of a run in a folder."""

import hashlib
import random
import time
import uuid
from collections.abc import Iterable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from mstar.config_storage import StorageSettings
from mstar.stage_notes import Begun
from mstar.stagedir import StageDir
from mstar.stages import STAGE_NAMES
from mstar.storage import build_storage
from tests.commands import mstar, start
from tests.smoke import fingerprints, prepare_arguments, smoke_arguments
from tests.storage.faults import FAULTS, Proxy, proxy
from tests.storage.servers import BUCKET, Stored

SHARDED = ("generate", "score", "evaluate")


@pytest.fixture
def output(moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a run that is not there yet, which commands reach by their environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    return f"s3://{BUCKET}/runs/{uuid.uuid4().hex}"


@pytest.mark.slow
@pytest.mark.parametrize("server", ["moto", "own_server"])
def test_a_run_in_a_bucket_leaves_the_files_of_one_in_a_folder(
    problems: Path, finished: Path, output: str, tmp_path: Path, server: str, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue(server)
    if server == "own_server":
        address, output = address
    done = mstar(*smoke_arguments(problems, output))
    assert f"report: {output}/report.html" in done.stdout
    stored = Stored(address, output)
    assert stored.fingerprints() == fingerprints(finished)
    headers = stored.headers("report.html")
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["x-amz-meta-sha256"] == hashlib.sha256(stored.read("report.html")).hexdigest()
    assert f"report: {output}/report.html" in mstar("report", f"{output}/").stdout
    mstar("export", output, str(tmp_path / "policy"))
    mstar("export", str(finished), str(tmp_path / "same"))
    weights = [(tmp_path / folder / "model.safetensors").read_bytes() for folder in ("policy", "same")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_shards_through_faults_and_kills_leave_the_files_of_one_undisturbed_run(
    problems: Path, finished: Path, moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines, each with a cache of its own, on a shard of their own where there are shards and on the
    same work where there are none; a fault of the next kind in every fifth request; ten kills.
    """
    output = f"s3://{BUCKET}/disturbed/{uuid.uuid4().hex}"
    chance, killed = random.Random(11), 0
    with proxy(moto, every=5) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.address)

        def begin(machine: int, command: list[str]) -> BaseProcess:
            monkeypatch.setenv("MSTAR_CACHE", str(tmp_path / f"machine-{machine}"))
            shard = ["--shard", f"{machine}/2"] if command[0] in SHARDED else []
            return start(*command, *shard, said=make_folder(tmp_path / f"said-{machine}"))

        mstar(*prepare_arguments(problems, output))
        for number, command in enumerate(stage_commands(output)):
            working = {machine: begin(machine, command) for machine in (1, 2)}
            while killed < 10 and killed < number:
                wait_for_requests(server, chance.randint(2, 40), working.values())
                machine = chance.choice((1, 2))
                killed += working[machine].is_alive()
                working[machine].kill()
                working[machine].join()
                working[machine] = begin(machine, command)
            for machine, process in working.items():
                process.join()
                assert process.exitcode == 0, (tmp_path / f"said-{machine}/errors").read_text()
        mstar("report", output)
        assert killed == 10 and set(server.injected) == set(FAULTS)
    assert Stored(moto, output).fingerprints() == fingerprints(finished)


def stage_commands(output: str) -> list[list[str]]:
    """Those of a whole run of two iterations."""
    iterations = [
        [stage, "--run", output, "--iteration", str(iteration)]
        for iteration in (0, 1)
        for stage in STAGE_NAMES
    ]
    return [["evaluate", "--run", output], *iterations]


def wait_for_requests(server: Proxy, more: int, working: Iterable[BaseProcess]) -> None:
    """Until so many have come, or nobody is left who sends any."""
    until = server.requests + more
    while server.requests < until and any(process.is_alive() for process in working):
        time.sleep(0.002)


def make_folder(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


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
