"""What a run's metrics are at the moment: typed results of stages become values of the rows of metric_table.

A collector of prometheus_client, that exports what the table has and nothing else. Who fills it is in
run_metrics.py; Prometheus gets it by metrics_server.py and pushgateway.py.
"""

import threading
from collections.abc import Iterator, Sequence
from datetime import datetime

from prometheus_client import Metric
from prometheus_client.registry import Collector

from mstar.metric_table import BY_NAME, OUTCOMES, ROWS
from mstar.records import Decision, Report, Sampled, Scored, Selected, TemperatureReport, TestReport, Trained
from mstar.report.history import Timing

VALIDATION = "validation"
"""How a Report names the problems of its sweep."""
START = -1
"""The number that stands for the policy before the first iteration."""


def number_of(iteration: int | None) -> int:
    """An iteration as a value of a metric."""
    return START if iteration is None else iteration


def seconds_since_1970(moment: str) -> float:
    """Unix time of a moment as timing.json writes it."""
    return datetime.fromisoformat(moment).timestamp()


class Snapshot(Collector):
    """Metrics as they were at one moment."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        return self._families


class Metrics(Collector):
    """The values of one run's metrics. `reward_pass_k` is the run's `adapt.k`."""

    def __init__(self, run_name: str, reward_pass_k: int) -> None:
        self._run = run_name
        self._reward_pass_k = str(reward_pass_k)
        self._values: dict[str, dict[tuple[str, ...], float]] = {row.name: {} for row in ROWS}
        self._lock = threading.Lock()

    def begin(self, stage: str, iteration: int | None, temperature: float | None = None) -> None:
        """Say which iteration a stage is at work on, and how hot it samples, if it does; its counters are
        there, at 0, from now on.
        """
        self._set("mstar_iteration", stage, number_of(iteration))
        if temperature is not None:
            self._set("mstar_temperature", stage, temperature)
        for row in ROWS:
            if row.kind == "counter" and stage in row.stages:
                for labels in [(one,) for one in OUTCOMES[stage]] if row.labels else [()]:
                    self._add(row.name, stage, 0, *labels)

    def observe_stage(
        self, stage: str, iteration: int | None, result: object, timing: Timing | None = None
    ) -> None:
        """Take in the result of a stage that was begun and is finished."""
        self._set("mstar_finished_iteration", stage, number_of(iteration))
        if timing:
            finished = seconds_since_1970(timing.finished)
            self._set("mstar_last_success_timestamp_seconds", stage, finished)
            self._set("mstar_stage_duration_seconds", stage, timing.seconds)
        match result:
            case Sampled():
                self._observe_sampled(stage, result)
            case Scored():
                self._observe_scored(stage, result)
            case Selected():
                self._observe_selected(stage, result)
            case Trained():
                self._observe_trained(stage, result)
            case Report():
                self._observe_report(stage, result)
            case Decision():
                self._set("mstar_next_temperature", stage, result.temperature)
                self._set("mstar_stopped", stage, result.stop)

    def collect(self, stage: str | None = None) -> Iterator[Metric]:
        """The metrics that have values; those of one stage, or of all."""
        for row in ROWS:
            with self._lock:
                series = [
                    (labels, value)
                    for labels, value in self._values[row.name].items()
                    if stage in (None, labels[0])
                ]
            if series:
                family = Metric(row.name.removesuffix("_total"), row.meaning, row.kind)
                for labels, value in series:
                    family.add_sample(
                        row.name, dict(zip(row.all_labels, (self._run, *labels), strict=True)), value
                    )
                yield family

    def of_stage(self, stage: str) -> Snapshot:
        """What one stage's metrics are now."""
        return Snapshot(list(self.collect(stage)))

    def value(self, name: str, *labels: str) -> float | None:
        """One value by its labels after `run`, in the order of the table; None where there is none."""
        return self._values[name].get(labels)

    def _observe_sampled(self, stage: str, result: Sampled) -> None:
        self._set("mstar_problems", stage, result.problems)
        self._add("mstar_responses_total", stage, result.responses, "sampled")
        self._add("mstar_responses_total", stage, result.truncated, "truncated")
        self._add("mstar_tokens_total", stage, result.response_tokens)
        self._add("mstar_unusable_problems_total", stage, len(result.unusable))

    def _observe_scored(self, stage: str, result: Scored) -> None:
        self._add("mstar_responses_total", stage, result.correct, "correct")
        self._add("mstar_responses_total", stage, result.unlabelled, "unlabelled")
        self._add("mstar_answer_checks_timed_out_total", stage, result.timed_out)
        self._add("mstar_answer_checks_failed_total", stage, result.failed)
        self._add("mstar_unusable_problems_total", stage, len(result.unusable))
        self._set("mstar_mean_reward", stage, result.mean_reward)
        self._set("mstar_rewarded_responses", stage, result.correct)

    def _observe_selected(self, stage: str, result: Selected) -> None:
        self._set("mstar_problems", stage, result.problems_with_kept)
        self._add("mstar_responses_total", stage, result.duplicates, "duplicate")
        self._add("mstar_responses_total", stage, result.below_threshold, "below_threshold")
        self._add("mstar_responses_total", stage, result.not_chosen, "not_chosen")
        self._add("mstar_responses_total", stage, result.kept, "kept")

    def _observe_trained(self, stage: str, result: Trained) -> None:
        self._set("mstar_examples", stage, result.examples)
        self._add("mstar_tokens_total", stage, result.response_tokens)
        self._add("mstar_train_steps_total", stage, result.train_steps)
        self._set("mstar_padding_ratio", stage, result.padding_ratio)
        if result.loss is not None:
            self._set("mstar_loss", stage, result.loss)

    def _observe_report(self, stage: str, report: Report) -> None:
        for name, test in report.tests.items():
            self._observe_test(stage, report.iteration, name, test)
        for row in report.temperatures:
            self._observe_temperature(stage, row)
        if report.temperatures:
            self._set("mstar_sweep_iteration", stage, number_of(report.iteration))
        for name in (*report.tests, *([VALIDATION] if report.temperatures else [])):
            self._set("mstar_left_out_problems", stage, len(report.unusable.get(name, {})), name)

    def _observe_test(self, stage: str, iteration: int | None, name: str, test: TestReport) -> None:
        self._set("mstar_accuracy_ratio", stage, test.accuracy.value, name)
        self._set("mstar_accuracy_low_ratio", stage, test.accuracy.low, name)
        self._set("mstar_accuracy_high_ratio", stage, test.accuracy.high, name)
        self._set("mstar_accuracy_problems", stage, test.accuracy.problems, name)
        self._set("mstar_accuracy_iteration", stage, number_of(iteration), name)
        self._set("mstar_response_tokens", stage, test.mean_response_tokens, name)

    def _observe_temperature(self, stage: str, row: TemperatureReport) -> None:
        temperature = f"{row.temperature:g}"
        for k, estimate in row.pass_at_k.items():
            self._set("mstar_pass_ratio", stage, estimate.value, str(k), temperature)
        for k, estimate in row.unbiased_pass_at_k.items():
            self._set("mstar_unbiased_pass_ratio", stage, estimate.value, str(k), temperature)
        if row.reward_pass_at_k:
            reward_pass = row.reward_pass_at_k.value
            self._set("mstar_reward_pass_ratio", stage, reward_pass, self._reward_pass_k, temperature)
        self._set("mstar_balance_ratio", stage, row.balance.value, temperature)
        self._set("mstar_sweep_problems", stage, row.balance.problems, temperature)

    def _set(self, name: str, stage: str, value: float, *labels: str) -> None:
        with self._lock:
            self._values[name][self._key(name, stage, labels)] = float(value)

    def _add(self, name: str, stage: str, value: float, *labels: str) -> None:
        key = self._key(name, stage, labels)
        with self._lock:
            self._values[name][key] = self._values[name].get(key, 0.0) + value

    def _key(self, name: str, stage: str, labels: tuple[str, ...]) -> tuple[str, ...]:
        """What the table does not have, no metric has."""
        row = BY_NAME[name]
        if stage not in row.stages or len(labels) != len(row.labels):
            raise ValueError(f"{name} has no series of {stage} with {labels}")
        return (stage, *labels)
