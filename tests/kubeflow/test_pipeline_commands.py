"""`mstar pipeline` against a server: what it sends, and one line for everything that goes wrong."""

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.commands import mstar
from tests.kubeflow.server import KubeflowServer
from tests.serving import serving

CONFIG = """
name: geometry
output: s3://runs/geometry
iterations: {count: 3}
model: {path: Qwen/Qwen2.5-VL-7B-Instruct}
data: {train: s3://data/train.parquet, tests: {heldout: s3://data/test.parquet}}
adapt: {policy: fixed}
cluster: {shards: 4, turns: 2}
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeflowServer]:
    with serving(KubeflowServer()) as running:
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", running.address)
        monkeypatch.delenv("KFP_TOKEN", raising=False)
        yield running


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "config.yaml").write_text(CONFIG)
    return str(tmp_path / "config.yaml")


def refused(*arguments: str) -> str:
    done = mstar("pipeline", *arguments, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    return line


def test_upload_makes_a_version_of_what_is_new(server: KubeflowServer, config: str) -> None:
    for _ in range(2):
        mstar("pipeline", "upload", config)
    assert set(server.stored.pipelines) == {"mstar-evolve", "mstar-iteration"}
    assert [len(one) for one in server.stored.versions.values()] == [2, 2]
    done = mstar("pipeline", "upload", config, "--set", "cluster.shards=8")
    assert [len(one) for one in server.stored.versions.values()] == [3, 2], "shards are in the form of one"
    assert "mstar-evolve: version" in done.stdout


def test_a_run_from_its_start_to_its_end(server: KubeflowServer, config: str) -> None:
    done = mstar("pipeline", "start", config, "--set", "generate.temperature=0.7")
    assert "geometry: started as run-0" in done.stdout and "/#/runs/details/run-0" in done.stdout
    (run,) = server.stored.runs
    values = run["runtime_config"]["parameters"]
    assert values["shards"] == 4 and "temperature: 0.7" in values["config"]
    assert "run-0" in refused("start", config), "a run is not started a second time while it is at work"
    assert mstar("pipeline", "status", "geometry").stdout.startswith("geometry run-0: PENDING")
    assert "canceled" in mstar("pipeline", "cancel", "run-0").stdout
    run["state"] = "FAILED"
    assert mstar("pipeline", "status", "geometry", check=False).returncode == 1
    assert "started as run-1" in mstar("pipeline", "start", config).stdout
    assert mstar("pipeline", "status", "geometry").stdout.startswith("geometry run-1"), "the youngest"


def test_an_unknown_run(server: KubeflowServer) -> None:
    for command in ("status", "logs", "cancel"):
        assert "knows no run nobody" in refused(command, "nobody")


def test_a_token_that_is_refused(
    server: KubeflowServer, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stored.token = "right"
    monkeypatch.setenv("KFP_TOKEN", "wrong")
    assert "refuses you (status 401); set KFP_TOKEN or KFP_COOKIES" in refused("start", config)
    monkeypatch.setenv("KFP_TOKEN", "right")
    mstar("pipeline", "start", config)


def test_nobody_there(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
    assert "no Kubeflow server is named" in refused("upload")
    said = refused("status", "x", "--host", "http://127.0.0.1:1")
    assert "nothing answers at http://127.0.0.1:1" in said and "kubectl port-forward" in said
    assert "write an address such as" in refused("status", "x", "--host", "ftp://x")


def test_somebody_else_there() -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with serving(HTTPServer(("127.0.0.1", 0), Other)) as other:
        host = f"http://127.0.0.1:{other.server_address[1]}"
        assert "is no Kubeflow Pipelines server (status 404" in refused("upload", "--host", host)


@pytest.mark.parametrize(
    "setting, said",
    [
        ("cluster.tasks.generate.memory=64GB", "is not an amount of memory; write 64Gi or 500Mi"),
        ("cluster.tasks.generate.gpu=1", "did you mean cluster.tasks.generate.gpus?"),
        ("cluster.tolerations=[{key: gpu, vlue: x}]", "did you mean cluster.tolerations.0.value?"),
        ("cluster.secrets={a: {B: c}, d: {B: c}}", "B is given twice"),
        ("cluster.turns=97", "cluster.turns is 97; input should be less than or equal to 96"),
    ],
)
def test_a_wrong_cluster_section(config: str, setting: str, said: str) -> None:
    assert said in refused("compile", config, "--set", setting)


def test_what_pods_do_not_see(server: KubeflowServer, config: str) -> None:
    mounted = "cluster.volumes=[{claim: data, path: /data}]"
    inside = "data.train=/data/train.jsonl"
    assert "data.train is /data/train.jsonl, a folder or file of this machine" in refused(
        "start", config, "--set", inside
    )
    mstar("pipeline", "start", config, "--set", inside, "--set", mounted)
    assert not server.stored.runs[0]["runtime_config"]["parameters"]["overrides"]


@pytest.mark.parametrize("arguments", [["compile"], ["status", "x", "--host", "http://127.0.0.1:1"]])
def test_without_the_extra(arguments: list[str], tmp_path: Path) -> None:
    """As a plain installation has it."""
    hide = "import sys; sys.modules |= dict.fromkeys(('kfp', 'kfp_server_api', 'kubernetes', 'urllib3'))"
    program = f"{hide}\nfrom mstar.cli import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", program, "pipeline", *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    [line] = done.stderr.splitlines()
    assert line.endswith("is not installed; this command needs it: pip install 'mstar[pipelines]'")
