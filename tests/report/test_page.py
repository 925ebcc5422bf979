"""report.html: what it says, what it must never do, and how it stands with little or much to say."""

import re
from collections.abc import Callable
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jinja2
import pytest

from mstar import records
from mstar.report.comparison import Comparison
from mstar.report.examples import Examples
from mstar.report.figures import Panel
from mstar.report.history import read_history
from mstar.report.page import TEMPLATES, render, write_report
from mstar.report.summary import Measured, Summary, TemperatureChoice, condense, summarise
from mstar.report.tables import SweepTable
from mstar.report.wording import interval, memory, percent, points
from mstar.response_parts import read_responses
from mstar.rundir import RunDir
from mstar.storage import read_text
from mstar.wording import duration
from tests.counting import calls_of

Make = Callable[..., RunDir]
LIMIT = 3_000_000
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Elements with their attributes, texts by the ids of the elements around them; tags must match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.text = ""
        self._open: list[tuple[str, str | None]] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append((tag, dict(attrs).get("id")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] == "style":
            return
        self.text += data
        for _, id in self._open:
            if id:
                self.texts[id] = self.texts.get(id, "") + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read_page(run: RunDir) -> Page:
    write_report(run)
    html = read_text(run.storage, "report.html")
    assert len(html.encode()) < LIMIT
    return Page(html)


def test_numbers_are_those_of_the_summary(make: Make) -> None:
    run = make(iterations=4)
    page, summary = read_page(run), summarise(run)
    first, last = summary.tests["strips"].first, summary.tests["strips"].last
    assert (
        f"Accuracy on strips rose from {percent(first.accuracy)} to {percent(last.accuracy)} in 4 iterations."
        in page.text
    )
    for test in summary.tests.values():
        for measured in (test.first, test.last):
            assert (
                percent(measured.accuracy) in page.texts["tests"]
                and interval(measured) in page.texts["tests"]
            )
    assert summary.change is not None
    assert f"{points(summary.change.low)} to {points(summary.change.high)}" in page.text
    assert page.texts["gained-count"] == str(summary.change.gained)
    assert page.texts["lost-count"] == str(summary.change.lost)
    assert (
        duration(summary.wall_clock_seconds) in page.text and memory(summary.peak_memory_bytes) in page.text
    )
    for choice in summary.temperatures:
        assert choice.reason in page.texts["temperatures"]
    for seconds in summary.seconds.values():
        assert duration(seconds) in page.texts["stages"]


def test_nothing_is_loaded_and_nothing_runs(make: Make) -> None:
    page = read_page(make(iterations=2))
    assert page.all("script") == [] and page.all("iframe") == []
    addresses = [
        value
        for _, attributes in page.elements
        for key, value in attributes.items()
        if key in ("src", "href")
    ]
    assert addresses and all(value and value.startswith("data:") for value in addresses)
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    assert "http:" not in page.html and "https:" not in page.html and "url(" not in page.html
    policies = [
        meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


HOSTILE = "</pre></details><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7*7 }}\u202e\x00"


def test_hostile_questions_and_responses_are_shown_as_text(make: Make) -> None:
    run = make(iterations=2, question=lambda number: HOSTILE, answer=lambda gold, right: HOSTILE + gold)
    page = read_page(run)
    assert page.all("script") == [] and all("onerror" not in image for image in page.all("img"))
    assert "<script>alert(1)</script>" in page.texts["gained-1"] and "{{ 7*7 }}" in page.texts["gained-1"]


def test_names_of_sources_are_escaped(make: Make) -> None:
    page = read_page(make(iterations=1, sources=("a <b>bold</b> name", "$x_1$", "{{ 7 * 7 }}")))
    assert "a <b>bold</b> name" in page.text and "$x_1$" in page.text and "{{ 7 * 7 }}" in page.text


def test_a_test_set_that_fell_is_in_the_headline(make: Make) -> None:
    run = make(iterations=4, tests=("strips", "reworded", "six-terms"), falling=("reworded",))
    page, summary = read_page(run), summarise(run)
    change = summary.tests["reworded"].change
    assert change is not None and summary.fallen == ("reworded",)
    assert "Accuracy on reworded fell from " in page.texts["fallen"]
    assert f"{points(change.low)} to {points(change.high)}" in page.texts["fallen"]
    assert page.html.index('id="fallen"') < page.html.index('id="tests"')
    assert "six-terms" not in page.texts["fallen"]
    assert "fallen" not in read_page(make(iterations=4)).texts


def test_of_many_that_fell_the_worst_are_named(make: Make) -> None:
    names = tuple(f"worse-{number}" for number in range(5))
    page = read_page(make(iterations=4, tests=("strips", *names), falling=names))
    assert page.texts["fallen"].count("fell from") == 3
    assert "It fell on 2 more test sets" in page.texts["fallen"]


def test_examples_show_both_responses_in_full_and_choose_the_same_ones(make: Make) -> None:
    run = make(iterations=3)
    page = read_page(run)
    examples = [attributes["id"] for attributes in page.all("article")]
    assert examples == [*(f"gained-{number}" for number in range(1, 9)), "lost-1", "lost-2"]
    assert examples == [attributes["id"] for attributes in read_page(run).all("article")]
    first, last = _responses(run, None), _responses(run, 2)
    for example in examples:
        assert example is not None
        problem = re.search(r"p\d+", page.texts[example])
        assert problem is not None
        before, after = first[problem[0]], last[problem[0]]
        assert (before.correct, after.correct) == ((False, True) if "gained" in example else (True, False))
        assert before.text in page.texts[example] and after.text in page.texts[example]


def _responses(run: RunDir, iteration: int | None) -> dict[str, Any]:
    prefix = "start" if iteration is None else f"iterations/{iteration:03d}"
    keys = run.storage.keys(f"{prefix}/evaluate/test-strips/")
    assert len(keys) == 2
    found: dict[str, Any] = {}
    for key in keys:
        with run.storage.reading(key) as path:
            found |= {one.problem_id: one for one in read_responses(path)}
    return found


def test_long_responses_are_folded_whole(make: Make) -> None:
    long = "\n".join(f"step {number}" for number in range(900))
    page = read_page(make(iterations=2, answer=lambda gold, right: f"{long}\nAnswer: {gold}"))
    assert "step 899\nAnswer:" in page.texts["gained-1"]
    assert "left out here" not in page.text


def test_the_size_is_bounded_whatever_the_run_holds(make: Make) -> None:
    run = make(
        iterations=2,
        problems=60,
        image_size=(900, 700),
        question=lambda number: "&" * 50_000,
        answer=lambda gold, right: '\U0001f600&"<' * 20_000 + gold,
    )
    page = read_page(run)
    assert len(page.all("article")) >= 8 and "more characters are left out here" in page.text
    assert all(len(image["src"] or "") < 42_000 for image in page.all("img"))


def test_images_have_alternative_texts_and_tables_have_scopes(make: Make) -> None:
    page = read_page(make(iterations=3))
    assert page.all("img") and all(image["alt"] for image in page.all("img"))
    assert page.all("th") and all(cell.get("scope") in ("row", "col") for cell in page.all("th"))
    charts = [one for one in page.all("svg")]
    assert len(charts) >= 8 and all(chart["role"] == "img" and chart["aria-label"] for chart in charts)


def test_ids_are_unique_and_labels_lead_somewhere(make: Make) -> None:
    page = read_page(make(iterations=3))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert ids and len(ids) == len(set(ids))
    assert all(section["aria-labelledby"] in ids for section in page.all("section"))


@pytest.mark.parametrize(
    ("plan", "said", "not_said"),
    [
        (
            {"iterations": 0, "start": False},
            ["Nothing has been measured yet."],
            ["Exploration", "Before and after"],
        ),
        (
            {"iterations": 0},
            ["Accuracy on strips is", "before the first iteration"],
            ["Before and after", "Temperature"],
        ),
        (
            {"iterations": 0, "unfinished": ("generate",)},
            ["Accuracy on strips is", "sampled"],
            ["Before and after"],
        ),
        ({"iterations": 1}, ["in 1 iteration.", "Before and after"], []),
        ({"iterations": 2, "sweep": False}, ["Temperature", "fixed"], ["Exploration and exploitation"]),
        ({"iterations": 2, "prm": False}, ["there is no Reward-Pass@2"], ["Reward-Pass@2 by temperature"]),
        ({"iterations": 2, "temperatures": (1.0,)}, ["T 1", "Pass@8"], ["by temperature"]),
        ({"iterations": 2, "tests": ("strips",)}, ["rose from"], ["six-terms"]),
        ({"iterations": 2, "start": False}, ["went from"], ["Before and after"]),
        ({"iterations": 2, "unfinished": ("generate", "score")}, ["rose from", "unfinished", "of 3"], []),
    ],
)
def test_runs_with_less_to_say(
    make: Make, plan: dict[str, Any], said: list[str], not_said: list[str]
) -> None:
    page = read_page(make(**plan))
    assert all(text in page.text for text in said)
    assert not [text for text in not_said if text in page.text]


def test_a_long_run_is_thinned(make: Make) -> None:
    run = make(iterations=2)
    history = read_history(run)
    turns = tuple(replace(history.iterations[-1], iteration=number) for number in range(10_000))
    longer = replace(history, iterations=turns)
    page = Page(
        render(run.config, longer, condense(run.config, longer, Comparison({}), {}), Examples(), None)
    )
    assert "metrics.jsonl has every stage" in page.text and "9999" in page.texts["iterations"]
    assert len(page.html) < 600_000


def test_the_template_reads_no_result_of_a_stage() -> None:
    """A field that is renamed is no type error there. Names that the page's own records have too do not
    count.
    """
    found = (records.Sampled, records.Scored, records.Selected, records.Trained, records.TemperatureReport)
    own = {"responses", "kept", *records.Response._fields}
    for kind in (Summary, Measured, TemperatureChoice, SweepTable, Panel):
        own |= {field.name for field in fields(kind)}
    page = jinja2.Environment().parse((TEMPLATES / "report.html.j2").read_text(encoding="utf-8"))
    read = {node.attr for node in page.find_all(jinja2.nodes.Getattr)}
    assert "iterations" in read
    assert read & {field.name for kind in found for field in fields(kind)} - own == set()


def test_a_missing_image_is_named(make: Make) -> None:
    run = make(iterations=2)
    for image in (Path(run.config.data.tests["strips"]).parent / "images").iterdir():
        image.unlink()
    page = read_page(run)
    assert page.all("img") == [] and "Image 1 cannot be shown: image" in page.texts["gained-1"]


def test_missing_problems_are_said(make: Make) -> None:
    run = make(iterations=2)
    Path(run.config.data.tests["strips"]).unlink()
    page = read_page(run)
    assert page.all("article") == [] and "They cannot be shown" in page.text


def test_cleared_responses_leave_the_rest_of_the_report(make: Make) -> None:
    run = make(iterations=2)
    for key in run.storage.keys("start/evaluate/test-strips/"):
        run.storage.remove(key)
    page = read_page(run)
    assert "went from" in page.text and "Before and after" not in page.text


def test_every_colour_is_legible_in_light_and_dark() -> None:
    import mstar.report

    css = (Path(mstar.report.__file__).parent / "templates" / "report.css").read_text()
    themes = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", css, re.S)[:2]
    ]
    assert len(themes) == 2
    for theme in themes:
        for ground in ("paper", "raised"):
            for ink in ("ink", "soft", "blue", "orange", "green", "violet", "grey", "red"):
                assert contrast(theme[ink], theme[ground]) >= 4.5, (ink, ground)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2 contrast ratio."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_report_costs_little(make: Make) -> None:
    """Calls are counted, which are the same everywhere; a report is part of the run's wall clock."""
    grid = tuple(round(0.3 + 0.1 * step, 1) for step in range(14))
    calls = {}
    for iterations in (4, 8, 12):
        run = make(iterations=iterations, temperatures=grid)
        write_report(run)
        calls[iterations] = calls_of(lambda run=run: write_report(run))
    assert calls[12] - calls[8] < 1.1 * (calls[8] - calls[4])
    assert calls[8] < 400_000
