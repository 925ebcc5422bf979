"""The table of mstar's Prometheus metrics: every name, with its type, its meaning and its labels.

`Metrics` (metrics.py) exports what stands here and nothing else; docs/metrics.md is printed from it by
`mstar metrics --table`. All series carry `run` and `stage`. Labels take few values: there are no ids, paths
or sources of problems among them, and no iterations, which are values of gauges.
"""

from dataclasses import dataclass
from typing import Literal

from mstar.stages import ADAPT, EVALUATE, GENERATE, SCORE, SELECT, STAGE_NAMES, TRAIN

Outcomes = dict[str, tuple[str, ...]]
OUTCOMES: Outcomes = {
    GENERATE.name: ("sampled", "truncated"),
    SCORE.name: ("correct", "unlabelled"),
    SELECT.name: ("duplicate", "below_threshold", "not_chosen", "kept"),
}
"""What may become of a response, by the stage that finds it out."""
LABELS = {
    "run": "`name` of the run",
    "stage": ", ".join(f"`{name}`" for name in STAGE_NAMES),
    "outcome": "; ".join(
        f"of {stage} " + ", ".join(f"`{one}`" for one in found) for stage, found in OUTCOMES.items()
    ),
    "test": "names of the test sets in `data.tests`; of `mstar_left_out_problems` also `validation`",
    "temperature": "the grid `evaluate.temperatures`, written as `0.7` or `1`",
    "k": "powers of two up to `evaluate.samples_per_problem`, and that number; of "
    "`mstar_reward_pass_ratio` alone `adapt.k`",
}
"""What values a label takes."""
EVERY = ("run", "stage")
"""The labels of every metric."""
HEADER = """# Metrics

Printed by `mstar metrics --table`; [tracking.md](tracking.md) says how Prometheus gets them. Counters and
gauges speak of the run as it stood after the stage's last finished iteration, whichever processes did the
work: a counter adds up its iterations so far, a gauge holds the newest value. `mstar_finished_iteration` says
which iteration that is; -1 is the policy before the first one. A test set or a sweep that an iteration leaves
out keeps its last figures, and `mstar_accuracy_iteration` and `mstar_sweep_iteration` say how old those are.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One metric; `stages` are the values of the label `stage` with which it appears."""

    name: str
    kind: Literal["gauge", "counter"]
    meaning: str
    stages: tuple[str, ...]
    labels: tuple[str, ...] = ()
    """Besides those of every metric."""

    @property
    def all_labels(self) -> tuple[str, ...]:
        return EVERY + self.labels


def _gauge(name: str, meaning: str, stages: tuple[str, ...], *labels: str) -> Row:
    return Row(name, "gauge", meaning, stages, labels)


def _counter(name: str, meaning: str, stages: tuple[str, ...], *labels: str) -> Row:
    return Row(name, "counter", meaning, stages, labels)


_SAMPLED, _JUDGED, _CHOSEN = (GENERATE.name,), (SCORE.name,), (SELECT.name,)
_TAUGHT, _MEASURED, _DECIDED = (TRAIN.name,), (EVALUATE.name,), (ADAPT.name,)
ROWS = (
    _gauge("mstar_iteration", "Iteration that the stage has begun last, from 0.", STAGE_NAMES),
    _gauge("mstar_finished_iteration", "Iteration that the stage has finished last.", STAGE_NAMES),
    _gauge("mstar_last_success_timestamp_seconds", "When the stage finished it, in Unix time.", STAGE_NAMES),
    _gauge("mstar_stage_duration_seconds", "Wall clock that the stage took for it.", STAGE_NAMES),
    _gauge("mstar_temperature", "Sampling temperature of the iteration.", _SAMPLED),
    _gauge(
        "mstar_problems",
        "Problems of that iteration with responses (generate), with kept ones (select).",
        _SAMPLED + _CHOSEN,
    ),
    _counter(
        "mstar_unusable_problems_total",
        "Problems that the policy (generate) or the process reward model (score) cannot read.",
        _SAMPLED + _JUDGED,
    ),
    _counter("mstar_responses_total", "Responses by what became of them.", tuple(OUTCOMES), "outcome"),
    _counter("mstar_tokens_total", "Response tokens generated or trained on.", _SAMPLED + _TAUGHT),
    _counter("mstar_answer_checks_timed_out_total", "Answer checks that were killed.", _JUDGED),
    _counter("mstar_answer_checks_failed_total", "Answer checks that raised an error.", _JUDGED),
    _gauge("mstar_mean_reward", "Mean reward of that iteration's correct responses.", _JUDGED),
    _gauge("mstar_rewarded_responses", "How many those are.", _JUDGED),
    _gauge("mstar_examples", "Responses that the iteration trained on.", _TAUGHT),
    _counter("mstar_train_steps_total", "Optimizer steps.", _TAUGHT),
    _gauge("mstar_loss", "Training loss at the end of the iteration.", _TAUGHT),
    _gauge("mstar_padding_ratio", "Share of padding among the tokens that were trained on.", _TAUGHT),
    _gauge("mstar_accuracy_ratio", "Greedy accuracy on a test set.", _MEASURED, "test"),
    _gauge("mstar_accuracy_low_ratio", "Lower end of its 95 % interval.", _MEASURED, "test"),
    _gauge("mstar_accuracy_high_ratio", "Upper end of its 95 % interval.", _MEASURED, "test"),
    _gauge("mstar_accuracy_problems", "Problems behind it.", _MEASURED, "test"),
    _gauge("mstar_accuracy_iteration", "Iteration after which it was measured.", _MEASURED, "test"),
    _gauge(
        "mstar_left_out_problems",
        "Problems of a test set, or of the sweep, that the policy cannot read.",
        _MEASURED,
        "test",
    ),
    _gauge("mstar_response_tokens", "Mean length of the responses to a test set.", _MEASURED, "test"),
    _gauge(
        "mstar_pass_ratio",
        "Share of validation problems solved by any of the first k responses.",
        _MEASURED,
        "k",
        "temperature",
    ),
    _gauge(
        "mstar_unbiased_pass_ratio",
        "The same expected of any k of the responses.",
        _MEASURED,
        "k",
        "temperature",
    ),
    _gauge(
        "mstar_reward_pass_ratio",
        "The same among the k responses of highest PRM score.",
        _MEASURED,
        "k",
        "temperature",
    ),
    _gauge("mstar_balance_ratio", "Balance score of B-STaR.", _MEASURED, "temperature"),
    _gauge("mstar_sweep_problems", "Validation problems behind those four.", _MEASURED, "temperature"),
    _gauge("mstar_sweep_iteration", "Iteration after which they were measured.", _MEASURED),
    _gauge("mstar_next_temperature", "Sampling temperature of the next iteration, as decided.", _DECIDED),
    _gauge("mstar_stopped", "1 where the decision was to end the run, else 0.", _DECIDED),
)
BY_NAME = {row.name: row for row in ROWS}


def say_table() -> str:
    """The whole page docs/metrics.md."""
    every = ", ".join(f"`{label}`" for label in EVERY)
    lines = [HEADER, f"All have the labels {every}.", ""]
    lines += ["| name | type | meaning | stages | further labels |", "|---|---|---|---|---|"]
    for row in ROWS:
        stages = "all" if row.stages == STAGE_NAMES else ", ".join(row.stages)
        labels = ", ".join(f"`{label}`" for label in row.labels)
        lines.append(f"| `{row.name}` | {row.kind} | {row.meaning} | {stages} | {labels} |")
    lines += ["", "| label | values |", "|---|---|"]
    lines += [f"| `{label}` | {values} |" for label, values in LABELS.items()]
    return "\n".join(lines) + "\n"
