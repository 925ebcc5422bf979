"""The metrics, as Prometheus would see them: scraped over HTTP and parsed."""

import socket
import subprocess
import urllib.request
from contextlib import AbstractContextManager

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from mstar import records
from mstar.errors import UserError
from mstar.metric_table import BY_NAME, EVERY, LABELS, OUTCOMES, ROWS, say_table
from mstar.metrics import Metrics
from mstar.metrics_server import MetricsServer
from mstar.records import Estimate
from mstar.report.history import Timing
from mstar.stages import STAGE_NAMES
from tests.commands import mstar
from tests.conftest import ROOT
from tests.monitoring import need_prometheus

EXPECTED_RESPONSES = {
    ("generate", "sampled"): 32,
    ("generate", "truncated"): 4,
    ("score", "correct"): 20,
    ("score", "unlabelled"): 3,
    ("select", "duplicate"): 5,
    ("select", "below_threshold"): 4,
    ("select", "not_chosen"): 7,
    ("select", "kept"): 4,
}
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(port: int) -> Series:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return read_series(answer.read().decode())


def read_series(text: str) -> Series:
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


def serve(metrics: Metrics) -> AbstractContextManager[int]:
    return MetricsServer(metrics, "strips").serve(0)


def value(series: Series, name: str, **labels: str) -> float | None:
    return series.get((name, frozenset({"run": "strips", **labels}.items())))


def make_report() -> records.Report:
    def around(share: float) -> Estimate:
        return Estimate(share, share - 0.05, share + 0.05, 100)

    tests = {
        "strips": records.TestReport(around(0.42), {}, 31.0, 0),
        "six-terms": records.TestReport(around(0.4), {}, 31.0, 0),
    }
    half = around(0.5)
    rows = tuple(
        records.TemperatureReport(t, 2, {1: half, 2: around(0.6)}, {1: half}, reward, around(0.3))
        for t, reward in ((0.7, around(0.55)), (1.0, None))
    )
    return records.Report(3, tests, rows, {"validation": {"p3": "has an image that is too thin"}})


def observe_iteration(metrics: Metrics) -> None:
    unusable = {"p7": "has an image that is too thin"}
    unread = {"p1": "has a prompt of 90 tokens", "p2": "has a prompt of 91 tokens"}
    results = {
        "generate": records.Sampled(2, 32, 900, 4, unusable),
        "score": records.Scored(32, 20, 1, 0.8, unlabelled=3, failed=2, unusable=unread),
        "select": records.Selected(20, 2, duplicates=5, below_threshold=4, not_chosen=7, kept=4),
        "train": records.Trained(4, 1, 7, 120, 0.25, 0.4, 0.31),
        "evaluate": make_report(),
        "adapt": records.Decision(3, 0.9, "the sweep says so", stop=True),
    }
    for stage, result in results.items():
        metrics.begin(stage, 3, 0.7 if stage == "generate" else None)
        metrics.observe_stage(stage, 3, result, Timing(12.5, 10.0, 1, "2026-11-26T10:00:00+00:00"))


def test_stages_are_scraped() -> None:
    metrics = Metrics("strips", 2)
    with serve(metrics) as port:
        observe_iteration(metrics)
        series = scrape(port)
        for stage in STAGE_NAMES:
            assert value(series, "mstar_finished_iteration", stage=stage) == 3
            assert value(series, "mstar_stage_duration_seconds", stage=stage) == 12.5
            assert value(series, "mstar_last_success_timestamp_seconds", stage=stage) == 1795687200
        assert value(series, "mstar_temperature", stage="generate") == 0.7
        assert value(series, "mstar_next_temperature", stage="adapt") == 0.9
        assert value(series, "mstar_stopped", stage="adapt") == 1
        responses = {
            (stage, outcome): value(series, "mstar_responses_total", stage=stage, outcome=outcome)
            for stage, outcome in EXPECTED_RESPONSES
        }
        assert responses == EXPECTED_RESPONSES
        assert value(series, "mstar_problems", stage="generate") == 2
        assert value(series, "mstar_tokens_total", stage="generate") == 900
        assert value(series, "mstar_tokens_total", stage="train") == 120
        assert value(series, "mstar_answer_checks_timed_out_total", stage="score") == 1
        assert value(series, "mstar_answer_checks_failed_total", stage="score") == 2
        assert value(series, "mstar_unusable_problems_total", stage="generate") == 1
        assert value(series, "mstar_unusable_problems_total", stage="score") == 2
        assert value(series, "mstar_mean_reward", stage="score") == 0.8
        assert value(series, "mstar_loss", stage="train") == 0.31
        observe_iteration(metrics)
        assert value(scrape(port), "mstar_responses_total", stage="generate", outcome="sampled") == 64
        assert value(scrape(port), "mstar_problems", stage="generate") == 2


def test_reports_are_scraped() -> None:
    metrics = Metrics("strips", 4)
    with serve(metrics) as port:
        observe_iteration(metrics)
        only = records.Report(4, {"strips": make_report().tests["strips"]})
        metrics.observe_stage("evaluate", 4, only)
        series = scrape(port)
    measured = {"stage": "evaluate", "temperature": "0.7"}
    for test, share, iteration in (("strips", 0.42, 4), ("six-terms", 0.4, 3)):
        assert value(series, "mstar_accuracy_ratio", stage="evaluate", test=test) == share
        assert value(series, "mstar_accuracy_low_ratio", stage="evaluate", test=test) == share - 0.05
        assert value(series, "mstar_accuracy_problems", stage="evaluate", test=test) == 100
        assert value(series, "mstar_accuracy_iteration", stage="evaluate", test=test) == iteration
    assert value(series, "mstar_pass_ratio", k="2", **measured) == 0.6
    assert value(series, "mstar_reward_pass_ratio", k="4", **measured) == 0.55
    assert value(series, "mstar_reward_pass_ratio", stage="evaluate", k="4", temperature="1") is None
    assert value(series, "mstar_sweep_problems", **measured) == 100
    assert value(series, "mstar_sweep_iteration", stage="evaluate") == 3
    assert value(series, "mstar_left_out_problems", stage="evaluate", test="validation") == 1


def test_nothing_is_invented() -> None:
    metrics = Metrics("strips", 2)
    with serve(metrics) as port:
        assert scrape(port) == {}
        metrics.begin("evaluate", None)
        metrics.begin("select", 0)
        series = scrape(port)
    assert value(series, "mstar_iteration", stage="evaluate") == -1
    kept = {"stage": "select", "outcome": "kept"}
    assert value(series, "mstar_responses_total", **kept) == 0
    names = {name for name, _ in series}
    assert names == {"mstar_iteration", "mstar_responses_total"}


def test_the_table_and_what_is_exported_are_the_same() -> None:
    """Every name, type, meaning and label; of the values of labels, those that are not the run's own."""
    metrics = Metrics("strips", 2)
    observe_iteration(metrics)
    text = generate_latest(metrics).decode()
    found = {
        sample.name: family for family in text_string_to_metric_families(text) for sample in family.samples
    }
    assert set(found) == set(BY_NAME) and len(ROWS) > 30
    for name, family in found.items():
        row = BY_NAME[name]
        assert (family.type, family.documentation) == (row.kind, row.meaning)
        assert {frozenset(sample.labels) for sample in family.samples} == {frozenset(row.all_labels)}
        assert {sample.labels["stage"] for sample in family.samples} == set(row.stages)
    series = read_series(text)
    pairs = [dict(labels) for name, labels in series if name == "mstar_responses_total"]
    assert {(one["stage"], one["outcome"]) for one in pairs} == {
        (stage, outcome) for stage, outcomes in OUTCOMES.items() for outcome in outcomes
    }
    assert set(LABELS) == {label for row in ROWS for label in row.all_labels} and EVERY == ("run", "stage")


def test_the_page_is_the_table() -> None:
    assert (ROOT / "docs/metrics.md").read_text() == say_table() == mstar("metrics", "--table").stdout


def test_promtool_finds_nothing_to_say() -> None:
    promtool = need_prometheus("promtool")
    metrics = Metrics("strips", 2)
    observe_iteration(metrics)
    exposition = generate_latest(metrics)
    checked = subprocess.run([promtool, "check", "metrics"], input=exposition, capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_the_server_stops_and_its_port_is_free_again() -> None:
    metrics = Metrics("strips", 2)
    metrics.begin("select", 0)
    server = MetricsServer(metrics, "strips")
    with server.serve(0) as port:
        assert scrape(port)
    with pytest.raises(OSError, match="refused"):
        scrape(port)
    with server.serve(port) as again:
        assert again == port and scrape(port)


def test_a_port_in_use_is_the_users_to_change() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(
                UserError, match=f"tracking.metrics_port is {port}; that port is in use; choose another"
            ),
            MetricsServer(Metrics("strips", 2), "strips").serve(port),
        ):
            raise AssertionError("the block must not run")
