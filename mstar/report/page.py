"""`report.html`: one file that opens offline, on a phone and in print, and holds nothing that runs.

What the page says is prepared here, how it is laid out is in templates/. All text is escaped by the template
engine, and the page's own policy forbids every script and every request, so not even a response that is
markup can do anything.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mstar.config import Config
from mstar.plan.arithmetic import Plan
from mstar.plan.forecast import plans_of
from mstar.records import to_json
from mstar.report import wording
from mstar.report.comparison import compare
from mstar.report.examples import LONGEST_TEXT, Examples, pick_examples
from mstar.report.expectation import by_stage, plan_rows
from mstar.report.figures import (
    STAGE_COLOURS,
    accuracy_charts,
    describe_last,
    length_chart,
    pass_panels,
    response_chart,
    sweep_charts,
    temperature_chart,
    thin,
    time_chart,
)
from mstar.report.headline import MOST_FALLEN, find_headline, others_fallen
from mstar.report.history import History, Turn, read_history
from mstar.report.metric_lines import metric_lines
from mstar.report.official import official_scores
from mstar.report.summary import Measured, Summary, condense
from mstar.report.tables import COUNTED, iteration_rows, sweep_table
from mstar.rundir import RunDir
from mstar.storage import write_text
from mstar.wording import duration
from mstar.yaml_text import dump_yaml

TEMPLATES = Path(__file__).parent / "templates"
MOST_ROWS = 120
MOST_SOURCES = 40
MOST_TESTS = 12
FOLDED_FROM = 700
"""Characters from which a response is folded."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    name: str
    first: Measured
    last: Measured


def write_report(run: RunDir) -> Summary:
    """Write `summary.json`, `metrics.jsonl` and `report.html` of the run as it stands."""
    history = read_history(run)
    comparison = compare(run, history)
    summary = condense(run.config, history, comparison, official_scores(run, history))
    write_text(run.storage, "summary.json", to_json(summary), durable=False)
    write_text(run.storage, "metrics.jsonl", metric_lines(history, run.config.adapt.k), durable=False)
    html = render(run.config, history, summary, pick_examples(run, comparison), plans_of(run))
    write_text(run.storage, "report.html", html.encode("utf-8", "replace").decode("utf-8"), durable=False)
    return summary


def render(
    config: Config,
    history: History,
    summary: Summary,
    examples: Examples,
    plans: tuple[Plan, Plan] | None,
) -> str:
    """The page; `plans` are the one after the first iteration, and the present one."""
    tests = list(summary.tests)[:MOST_TESTS]
    html: str = _page().render(
        config=config,
        config_text=_config_text(config.model_dump_json()),
        history=history,
        summary=summary,
        headline=find_headline(summary),
        fallen=others_fallen(summary),
        most_fallen=MOST_FALLEN,
        tests=tests,
        official=[name for name in tests if summary.tests[name].official],
        examples=examples,
        totals=_totals(history),
        planned=by_stage(plan_rows(*plans)) if plans else {},
        plan=plans and plans[1],
        **_tables(config, history, summary, tests),
        **_charts(config, history, summary, tests),
    )
    return html


@cache
def _config_text(config: str) -> str:
    """A configuration, given as JSON, as it is shown; the loop writes many pages with the same one."""
    return dump_yaml(json.loads(config))[: 4 * LONGEST_TEXT]


@cache
def _page() -> Any:
    """The template with its style; compiling it takes longer than filling it in."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (*_FILTERS, is_long, cut, left_out):
        environment.filters[function.__name__] = function
    environment.filters["drawing"] = Markup
    environment.globals["style"] = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))
    return environment.get_template("report.html.j2")


def cut(text: str) -> str:
    """As much of a text as is shown."""
    return text[:LONGEST_TEXT]


def left_out(text: str) -> int:
    """Characters of a text that are not shown."""
    return max(0, len(text) - LONGEST_TEXT)


def is_long(text: str) -> bool:
    return len(text) > FOLDED_FROM or text.count("\n") > 14


def _charts(config: Config, history: History, summary: Summary, tests: Sequence[str]) -> dict[str, Any]:
    chosen = summary.temperatures[-1].temperature if summary.temperatures else None
    return {
        "accuracy": accuracy_charts(history, tests),
        "under_accuracy": {test: describe_last(summary, test) for test in tests},
        "panels": pass_panels(summary.sweeps, chosen),
        "sweep_charts": sweep_charts(summary.sweeps, config.adapt.k),
        "temperature_chart": temperature_chart(summary.temperatures),
        "response_chart": response_chart(history),
        "length_chart": length_chart(history, tests[0]) if tests else None,
        "time_chart": time_chart(history),
        "stage_colours": STAGE_COLOURS,
    }


def _tables(config: Config, history: History, summary: Summary, tests: Sequence[str]) -> dict[str, Any]:
    sources = {test: rows for test in tests if len(rows := _source_rows(history, test)) > 1}
    last = summary.sweeps[-1].temperatures[-1] if summary.sweeps else None
    has_reward = last is not None and last.reward_pass_at_k is not None
    ends = [*summary.sweeps[:1], *summary.sweeps[1:][-1:]]
    return {
        "rows": iteration_rows(thin(history.turns, MOST_ROWS), tests),
        "counted": COUNTED,
        "choices": thin(summary.temperatures, MOST_ROWS),
        "end_sweeps": [sweep_table(sweep, config.adapt.k, has_reward) for sweep in ends],
        "sweep_samples": last and last.samples_per_problem,
        "has_reward": has_reward,
        "sources": {test: rows[:MOST_SOURCES] for test, rows in sources.items()},
        "hidden_sources": {test: max(0, len(rows) - MOST_SOURCES) for test, rows in sources.items()},
    }


def _source_rows(history: History, test: str) -> list[SourceRow]:
    """Accuracy per source, first and last measured, the largest sources first."""
    measured = [turn for turn in history.turns if turn.report and test in turn.report.tests]
    if len(measured) < 2:
        return []
    first, last = (_by_source(turn, test) for turn in (measured[0], measured[-1]))
    rows = [SourceRow(name, first[name], last[name]) for name in last if name in first]
    return sorted(rows, key=lambda row: (-row.last.problems, row.name))


def _by_source(turn: Turn, test: str) -> dict[str, Measured]:
    assert turn.report is not None
    found = turn.report.tests[test].by_source.items()
    return {name: Measured(one.value, one.low, one.high, one.problems, turn.iteration) for name, one in found}


def _totals(history: History) -> Mapping[str, int]:
    """Counts over all iterations."""
    turns = history.iterations
    return {
        "responses": sum(turn.sampled.responses for turn in turns if turn.sampled),
        "kept": sum(turn.selected.kept for turn in turns if turn.selected),
    }


_FILTERS = (
    wording.percent,
    wording.interval,
    wording.points,
    wording.count,
    wording.decimal,
    duration,
    wording.memory,
    wording.iteration_name,
    wording.shorten,
)
