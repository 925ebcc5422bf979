"""Metrics pushed to a real Pushgateway, and what happens where there is none."""

import logging
import shutil
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mstar import records
from mstar.config import Config
from mstar.errors import UserError
from mstar.metrics import Metrics
from mstar.pushgateway import ADDRESS, Gateway, find_gateway
from mstar.stages import STAGE_NAMES
from mstar.starting import start_run
from tests.commands import OUTPUT, mstar, start
from tests.conftest import ROOT, parse_small
from tests.monitoring import Prometheus, Pushgateway, pushgateway
from tests.smoke import smoke_arguments
from tests.storage.authorities import make_certificates
from tests.test_docs import blocks
from tests.test_metrics import Series, read_series, scrape

MakeConfig = Callable[..., Config]
USER, PASSWORD = "mstar", "p@ss:word/"
HASHED = "$2b$04$Vp1ei9G40u48T7QBkhnFM.u9xFl.PK6WQBb5D1FQ3/VOuRb.O4ScW"
"""Of the password, by bcrypt."""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Pushgateway]:
    with pushgateway("--web.enable-admin-api") as started:
        yield started


@pytest.fixture
def named(gateway: Pushgateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pushgateway]:
    """The gateway, empty, in the environment of commands."""
    monkeypatch.setenv(ADDRESS, gateway.address)
    yield gateway
    wipe = urllib.request.Request(f"{gateway.address}/api/v1/admin/wipe", method="PUT")
    urllib.request.urlopen(wipe, timeout=10).close()


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A run that has just ended."""
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    set_clock(run, datetime.now(UTC))
    return run


def set_clock(run: Path, moment: datetime) -> None:
    """Have all stages of a run finished at that moment."""
    for timing in run.glob("*/**/timing.json"):
        timing.write_text(
            '{"seconds": 2.5, "inside_seconds": 1.0, "peak_memory_bytes": 1, '
            f'"finished": "{moment.isoformat(timespec="seconds")}"}}'
        )


def pushed(gateway: Pushgateway) -> Series:
    """The series of mstar at the gateway, as a run has them: without `job` and the gateway's own."""
    found = scrape(gateway.port)
    return {
        (name, frozenset(pair for pair in labels if pair not in (("job", "mstar"), ("instance", "")))): value
        for (name, labels), value in found.items()
        if name.startswith("mstar_")
    }


def scrape_config(gateway: Pushgateway) -> str:
    """What docs/tracking.md has Prometheus do, with this gateway."""
    (block,) = blocks((ROOT / "docs/tracking.md").read_text(), "yaml")[1:]
    assert "gateway:9091" in block
    return block.replace("gateway:9091", f"127.0.0.1:{gateway.port}")


def of_stages(series: Series, *stages: str) -> Series:
    return {key: value for key, value in series.items() if dict(key[1])["stage"] in stages}


def stored(run: Path | str) -> Series:
    return read_series(mstar("metrics", str(run)).stdout)


def test_a_run_pushes_every_stage_and_leaves_nothing_behind(
    problems: Path, copied: Path, named: Pushgateway, tmp_path: Path
) -> None:
    """Its last figures stay until Prometheus has had time to read them; a signal ends the waiting."""
    expected = stored(copied)
    assert {dict(labels)["stage"] for _, labels in expected} == set(STAGE_NAMES)
    process = start(*smoke_arguments(problems, copied), said=tmp_path)
    said = tmp_path / OUTPUT
    while not said.exists() or "its metrics are deleted" not in said.read_text():
        assert process.is_alive()
        time.sleep(0.05)
    assert pushed(named) == expected
    process.terminate()
    process.join()
    assert process.exitcode == 0
    assert named.groups() == {}


def test_a_run_that_ended_long_ago_does_not_wait(problems: Path, copied: Path, named: Pushgateway) -> None:
    set_clock(copied, datetime.now(UTC) - timedelta(hours=1))
    done = mstar(*smoke_arguments(problems, copied))
    assert named.groups() == {} and "metrics are deleted" not in done.stdout and done.stderr == ""


def test_stage_commands_push_what_the_loop_does(copied: Path, named: Pushgateway) -> None:
    """Also those that find their stage done already; the report of a run that has ended deletes it all."""
    expected = stored(copied)
    for stage in STAGE_NAMES:
        mstar(stage, "--run", str(copied), "--iteration", "1")
        assert of_stages(pushed(named), stage) == of_stages(expected, stage)
    mstar("evaluate", "--run", str(copied))
    assert pushed(named) != expected
    mstar("evaluate", "--run", str(copied), "--iteration", "1", "--rest")
    assert pushed(named) == expected
    set_clock(copied, datetime.now(UTC) - timedelta(hours=1))
    mstar("report", str(copied))
    assert named.groups() == {}


def test_the_report_of_a_run_at_work_deletes_nothing(copied: Path, named: Pushgateway) -> None:
    (copied / "iterations/001/adapt/manifest.json").unlink()
    mstar("select", "--run", str(copied), "--iteration", "1")
    mstar("report", str(copied))
    assert set(named.groups()) == {"select"}
    assert mstar("metrics", str(copied), "--delete").stdout.endswith(f"deleted from {named.address}\n")
    assert named.groups() == {}


def test_a_shard_pushes_nothing_before_the_last_is_done(make_config: MakeConfig, named: Pushgateway) -> None:
    config = make_config(generate={"samples_per_problem": 2, "max_tokens": 20, "problems_per_chunk": 8})
    start_run(config)
    command = ["generate", "--run", config.output, "--iteration", "0", "--shard"]
    mstar(*command, "1/2")
    assert named.groups() == {}
    mstar(*command, "2/2")
    whole = pushed(named)
    assert whole == stored(config.output) and len(whole) > 8
    mstar(*command, "1/2")
    assert pushed(named) == whole


def test_a_group_is_replaced_whole_and_others_stay(named: Pushgateway) -> None:
    for run, temperatures in (("one", (0.5, 0.7)), ("other", (0.5,))):
        gateway = Gateway(named.address, run)
        for iteration, temperature in enumerate(temperatures):
            metrics = Metrics(run, 2)
            metrics.begin("evaluate", iteration)
            share = records.Estimate(0.5, 0.4, 0.6, 80)
            row = records.TemperatureReport(temperature, 2, {1: share}, {}, None, share)
            metrics.observe_stage("evaluate", iteration, records.Report(iteration, {}, (row,)))
            gateway.push("evaluate", metrics.of_stage("evaluate"))
            assert gateway.wait()
        gateway.close()
    found = {
        (dict(labels)["run"], dict(labels)["temperature"])
        for name, labels in pushed(named)
        if name == "mstar_pass_ratio"
    }
    assert found == {("one", "0.7"), ("other", "0.5")}


def test_a_gateway_that_is_not_there_is_told_of_once(
    problems: Path, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv(ADDRESS, f"http://{USER}:secret@{address}")
        done = mstar(*smoke_arguments(problems, copied))
        assert mstar("metrics", str(copied), "--delete", check=False).returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"http://{address} does not take the run's metrics (") and "refused" in line
    assert "secret" not in done.stderr + done.stdout


def test_a_gateway_that_does_not_answer_is_left_behind(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv(ADDRESS, f"http://127.0.0.1:{silent.getsockname()[1]}")
        done = mstar("select", "--run", str(copied), "--iteration", "1")
    assert len(done.stderr.splitlines()) == 1 and "timed out" in done.stderr


def test_what_a_gateway_missed_is_pushed_with_the_next_stage(caplog: pytest.LogCaptureFixture) -> None:
    with pushgateway() as first:
        port = first.port
    gateway, metrics = Gateway(f"http://127.0.0.1:{port}", "strips"), Metrics("strips", 2)
    metrics.begin("generate", 0)
    with caplog.at_level(logging.WARNING):
        gateway.push("generate", metrics.of_stage("generate"))
        assert not gateway.wait()
        with pushgateway(port=port) as second:
            metrics.begin("score", 0)
            gateway.push("score", metrics.of_stage("score"))
            assert gateway.wait()
            assert set(second.groups()) == {"generate", "score"}
    gateway.close()
    assert len(caplog.messages) == 1


def test_a_password_and_a_certificate(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = make_certificates(tmp_path / "certificates")
    web = tmp_path / "web.yml"
    web.write_text(
        "tls_server_config:\n"
        f"  cert_file: {authority.parent}/public.crt\n"
        f"  key_file: {authority.parent}/private.key\n"
        f"basic_auth_users: {{{USER}: {HASHED}}}\n"
    )
    with pushgateway(f"--web.config.file={web}") as guarded:
        place = f"127.0.0.1:{guarded.port}"
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        command = ["select", "--run", str(copied), "--iteration", "1"]
        monkeypatch.setenv(ADDRESS, f"https://{USER}:p%40ss%3Aword%2F@{place}")
        assert mstar(*command).stderr == ""
        monkeypatch.setenv(ADDRESS, f"https://{USER}:wrong@{place}")
        assert "401" in mstar(*command).stderr
        monkeypatch.delenv("SSL_CERT_FILE")
        assert "certificate verify failed" in mstar(*command).stderr


def test_an_address_that_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(ADDRESS, "http://user:pass/word@gateway")
    with pytest.raises(UserError, match="MSTAR_PUSHGATEWAY is no address; write http://host:9091") as said:
        find_gateway(parse_small())
    assert "word" not in str(said.value).replace("password", "")
    monkeypatch.delenv(ADDRESS)
    assert find_gateway(parse_small()) is None


def test_prometheus_reads_the_gateway(named: Pushgateway, copied: Path, tmp_path: Path) -> None:
    """Scraped as docs/tracking.md says, the series are those of a run that is scraped itself."""
    mstar("evaluate", "--run", str(copied), "--iteration", "1")
    prometheus = Prometheus(tmp_path / "prometheus", scrape_config(named))
    try:
        while not (found := prometheus.ask("mstar_accuracy_ratio")):
            time.sleep(0.2)
    finally:
        prometheus.stop()
    (one,) = found
    labels = {key: one["metric"][key] for key in ("run", "stage", "test")}
    assert labels == {"run": "smoke", "stage": "evaluate", "test": "heldout"}
    expected = stored(copied)[("mstar_accuracy_ratio", frozenset(labels.items()))]
    assert float(one["value"][1]) == expected
