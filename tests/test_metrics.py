"""The metrics, as Prometheus would see them: scraped over HTTP and parsed."""

import socket
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mstar import records
from mstar.errors import UserError
from mstar.metrics import Metrics
from mstar.records import Estimate

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(port: int) -> Series:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def value(series: Series, name: str, **labels: str) -> float | None:
    return series.get((name, frozenset({"run": "strips", **labels}.items())))


def make_report() -> records.Report:
    def around(share: float) -> Estimate:
        return Estimate(share, share - 0.05, share + 0.05, 100)

    tests = {
        "strips": records.TestReport(around(0.42), {}, 31.0, 0),
        "six-terms": records.TestReport(around(0.4), {}, 31.0, 0),
    }
    rows = tuple(
        records.TemperatureReport(t, 2, {1: around(0.5), 2: around(0.6)}, {}, reward, around(0.3))
        for t, reward in ((0.7, around(0.55)), (1.0, None))
    )
    return records.Report(0, tests, rows)


def observe_iteration(metrics: Metrics) -> None:
    metrics.begin_iteration(3, 0.7)
    unusable = {"p7": "has an image that is too thin"}
    unread = {"p1": "has a prompt of 90 tokens", "p2": "has a prompt of 91 tokens"}
    metrics.observe_stage("generate", 3, records.Sampled(2, 32, 900, 4, unusable), 12.5)
    metrics.observe_stage("score", 3, records.Scored(32, 20, 1, 0.8, failed=2, unusable=unread), 2.0)
    metrics.observe_stage("select", 3, records.Selected(correct=20, duplicates=5, kept=4), 0.1)
    metrics.observe_stage("train", 3, records.Trained(4, 1, 7, 120, 0.0, 0.4, 0.31), 6.0)


def test_stages_are_scraped() -> None:
    metrics = Metrics("strips", 2)
    with metrics.serve(0) as port:
        observe_iteration(metrics)
        series = scrape(port)
        assert value(series, "mstar_iteration") == 3
        assert value(series, "mstar_temperature") == 0.7
        outcomes = {"sampled": 32, "truncated": 4, "correct": 20, "duplicate": 5, "kept": 4}
        assert {o: value(series, "mstar_responses_total", outcome=o) for o in outcomes} == outcomes
        assert value(series, "mstar_tokens_total", stage="generate") == 900
        assert value(series, "mstar_tokens_total", stage="train") == 120
        assert value(series, "mstar_answer_checks_timed_out_total") == 1
        assert value(series, "mstar_answer_checks_failed_total") == 2
        assert value(series, "mstar_unusable_problems_total", stage="generate") == 1
        assert value(series, "mstar_unusable_problems_total", stage="score") == 2
        assert value(series, "mstar_loss") == 0.31
        assert value(series, "mstar_stage_duration_seconds", stage="generate") == 12.5
        observe_iteration(metrics)
        assert value(scrape(port), "mstar_responses_total", outcome="sampled") == 64


def test_reports_are_scraped() -> None:
    metrics = Metrics("strips", 4)
    with metrics.serve(0) as port:
        metrics.observe_report(make_report())
        series = scrape(port)
    assert value(series, "mstar_accuracy_ratio", test="strips") == 0.42
    assert value(series, "mstar_accuracy_ratio", test="six-terms") == 0.4
    assert value(series, "mstar_pass_ratio", k="2", temperature="0.7") == 0.6
    assert value(series, "mstar_reward_pass_ratio", k="4", temperature="0.7") == 0.55
    assert value(series, "mstar_reward_pass_ratio", k="4", temperature="1") is None


def test_all_series_carry_the_run_and_nothing_is_invented() -> None:
    metrics = Metrics("strips", 2)
    with metrics.serve(0) as port:
        series = scrape(port)
        assert series and all(("run", "strips") in labels for _, labels in series)
        assert value(series, "mstar_responses_total", outcome="kept") == 0
        assert value(series, "mstar_accuracy_ratio", test="strips") is None
        assert value(series, "mstar_loss") is None


def test_two_runs_in_one_process_do_not_mix() -> None:
    one, other = Metrics("one", 2), Metrics("other", 2)
    one.begin_iteration(1, 1.0)
    assert one.registry.get_sample_value("mstar_iteration", {"run": "one"}) == 1
    assert other.registry.get_sample_value("mstar_iteration", {"run": "other"}) is None


def test_the_server_stops_and_its_port_is_free_again() -> None:
    metrics = Metrics("strips", 2)
    with metrics.serve(0) as port:
        assert scrape(port)
    with pytest.raises(OSError, match="refused"):
        scrape(port)
    with metrics.serve(port) as again:
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
            Metrics("strips", 2).serve(port),
        ):
            raise AssertionError("the block must not run")
