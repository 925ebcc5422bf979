"""What a check of problems found, as lines: the counts, every bad row, the first odd ones."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mstar.datasets.checking import CheckResult
from mstar.datasets.values import printable
from mstar.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

LISTED_ODDITIES = 20


def print_check(result: CheckResult, console: "Console") -> None:
    """The counts as tables (plain lines when not on a terminal), then every bad row on a line of its own."""
    counts = {
        "answer type": result.answer_types,
        "source": result.sources,
        "images per problem": result.images,
    }
    for title, table in counts.items():
        print_counts(title, table, console)
    for key, rows in result.unknown_keys.items():
        meant = f"; did you mean {result.nearest_keys[key]}?" if key in result.nearest_keys else ""
        print_line(f"ignored key {key}: {counted(rows, 'rows')}{meant}", console)
    if result.unlabelled:
        print_line(f"unlabelled: {counted(result.unlabelled, 'problems')}", console)
    for flaw in result.bad:
        print_line(str(flaw), console)
    for oddity in result.odd[:LISTED_ODDITIES]:
        print_line(f"odd but usable, {oddity}", console)
    if result.odd:
        shown = f", the first {LISTED_ODDITIES} above" if len(result.odd) > LISTED_ODDITIES else ""
        print_line(f"odd but usable: {counted(len(result.odd), 'golds or choices')}{shown}", console)
    if result.with_model or result.looked_into < result.rows:
        what = "with the model" if result.with_model else "for images and formulas"
        print_line(f"checked {result.looked_into:,} of {result.rows:,} rows {what}", console)
    if result.advice:
        print_line(result.advice, console)
    good, total = result.rows - len(result.bad), counted(result.rows, "rows")
    print_line(f"{result.path}: {total}, {good} good, {len(result.bad)} bad", console)


def print_counts(title: str, counts: Mapping[str, int], console: "Console") -> None:
    from rich.table import Table
    from rich.text import Text

    if not console.is_terminal:
        for name, problems in counts.items():
            print_line(f"{title} {name}: {counted(problems, 'problems')}", console)
        return
    table = Table(title, "problems")
    table.columns[1].justify = "right"
    for name, problems in counts.items():
        table.add_row(Text(name), str(problems))
    console.print(table)


def print_line(text: str, console: "Console") -> None:
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
