"""What a person sees while a run goes: a live line per stage in a terminal, plain lines anywhere else.

Stages call `stage(...)` with what they have to do and the returned function with what is done; `QUIET` shows
nothing.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress as rich_progress
from rich.console import Console

Advance = Callable[[int], None]
"""Called with how many more units are done."""
PLAIN_EVERY_SECONDS = 30


class Progress:
    """Shows nothing; the kinds below show something."""

    @contextmanager
    def stage(self, name: str, iteration: int | None, total: int, unit: str) -> Iterator[Advance]:
        """Around one stage that has `total` units to do."""
        yield lambda done: None

    def note(self, text: str) -> None:
        """One line that stays."""

    def accuracy(self, text: str) -> None:
        """The newest accuracy: a line, and from now on beside the live bar."""
        self.note(text)


QUIET = Progress()


def build_progress() -> Progress:
    """Live lines where standard output is a terminal, plain ones where it is not."""
    console = Console()
    return LiveProgress(console) if console.is_terminal else PlainProgress()


class PlainProgress(Progress):
    """A line when a stage ends, and one now and then while a long one goes."""

    @contextmanager
    def stage(self, name: str, iteration: int | None, total: int, unit: str) -> Iterator[Advance]:
        start = spoken = time.monotonic()
        done = 0

        def advance(more: int) -> None:
            nonlocal done, spoken
            done += more
            if time.monotonic() - spoken > PLAIN_EVERY_SECONDS:
                spoken = time.monotonic()
                print(
                    f"{title(name, iteration)} {done}/{total} {unit}, {_left(start, done, total)}", flush=True
                )

        yield advance
        seconds = time.monotonic() - start
        print(f"{title(name, iteration)} {done} {unit} in {seconds:.1f} s", flush=True)

    def note(self, text: str) -> None:
        print(text, flush=True)


class LiveProgress(Progress):
    """A bar with rate and time left for the stage at work."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.newest_accuracy = ""

    @contextmanager
    def stage(self, name: str, iteration: int | None, total: int, unit: str) -> Iterator[Advance]:
        columns = (
            rich_progress.TextColumn("{task.description:24}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TextColumn("{task.fields[rate]}"),
            rich_progress.TimeRemainingColumn(),
            rich_progress.TextColumn(self.newest_accuracy),
        )
        start = time.monotonic()
        with rich_progress.Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(title(name, iteration), total=total, rate="")
            done = 0

            def advance(more: int) -> None:
                nonlocal done
                done += more
                rate = done / max(time.monotonic() - start, 1e-9)
                bar.update(task, completed=done, rate=f"{rate:.1f} {unit}/s")

            yield advance
        self.note(f"{title(name, iteration):24} {done} {unit} in {time.monotonic() - start:.1f} s")

    def accuracy(self, text: str) -> None:
        self.newest_accuracy = text.split(": ", 1)[-1].split(" [", 1)[0]
        self.note(text)

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)


def title(name: str, iteration: int | None) -> str:
    return f"start · {name}" if iteration is None else f"iteration {iteration} · {name}"


def _left(start: float, done: int, total: int) -> str:
    rate = done / (time.monotonic() - start)
    return f"{rate:.1f}/s, about {(total - done) / rate:.0f} s left" if rate else "starting"
