"""What a person sees while a run goes: a live line per stage in a terminal, plain lines anywhere else.

Stages call `stage(...)` with what they have to do and the returned function with what is done; `QUIET` shows
nothing. A stage that is told to stop says how far it was (see stopping.py).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress as rich_progress
from rich.console import Console

from mstar import __version__
from mstar.stopping import Stopped
from mstar.wording import counted

STAGES = ("generate", "score", "select", "train", "evaluate", "adapt")
Advance = Callable[[int], None]
"""Called with how many more units are done."""
Show = Callable[[int], None]
"""Called with how many units are done in all."""
IsFinished = Callable[[str, int | None], bool]
"""Whether the stage of that name is finished in that iteration; None is the start."""
PLAIN_EVERY_SECONDS = 30


class Progress:
    """Shows nothing; the kinds below show something."""

    @contextmanager
    def stage(self, name: str, iteration: int | None, total: int, unit: str) -> Iterator[Advance]:
        """Around one stage that has `total` units to do; `unit` is a plural."""
        done = 0

        def note_and_advance(more: int) -> None:
            nonlocal done
            done += more
            advance(more)

        try:
            with self.task(title(name, iteration), total, unit) as advance:
                yield note_and_advance
        except Stopped as stopped:
            stopped.add_note(f"{title(name, iteration)} after {done} of {counted(total, unit)}")
            raise

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        """The same around what begins anew when it is stopped."""
        done = 0

        def advance(more: int) -> None:
            nonlocal done
            done += more
            show(done)

        with self._shown(title, total, unit) as show:
            yield advance

    @contextmanager
    def _shown(self, title: str, total: int, unit: str) -> Iterator[Show]:
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
    """A line when a stage begins, one when it ends, and one now and then while a long one goes."""

    @contextmanager
    def _shown(self, title: str, total: int, unit: str) -> Iterator[Show]:
        start = spoken = time.monotonic()
        shown = 0

        def show(done: int) -> None:
            nonlocal spoken, shown
            shown = done
            if time.monotonic() - spoken > PLAIN_EVERY_SECONDS:
                spoken = time.monotonic()
                self.note(f"{title}: {done} of {counted(total, unit)}, {_left(start, done, total)}")

        self.note(f"{title}: {counted(total, unit)} to do")
        yield show
        self.note(f"{title}: {counted(shown, unit)} in {time.monotonic() - start:.1f} s")

    def note(self, text: str) -> None:
        print(text, flush=True)


class LiveProgress(Progress):
    """A bar with rate and time left for the stage at work."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.newest_accuracy = ""

    @contextmanager
    def _shown(self, title: str, total: int, unit: str) -> Iterator[Show]:
        columns = (
            rich_progress.TextColumn("{task.description:24}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TextColumn("{task.fields[rate]}"),
            rich_progress.TimeRemainingColumn(),
            rich_progress.TextColumn(self.newest_accuracy),
        )
        start, shown = time.monotonic(), 0
        with rich_progress.Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(title, total=total, rate="")

            def show(done: int) -> None:
                nonlocal shown
                shown = done
                rate = done / max(time.monotonic() - start, 1e-9)
                bar.update(task, completed=done, rate=f"{rate:.1f} {unit}/s")

            yield show
        self.note(f"{title:24} {counted(shown, unit)} in {time.monotonic() - start:.1f} s")

    def accuracy(self, text: str) -> None:
        self.newest_accuracy = text.split(": ", 1)[-1].split(" [", 1)[0]
        self.note(text)

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)


def opening(name: str, output: str) -> str:
    """What is said at once, before the slow imports and the look at the inputs."""
    return f"mstar {__version__}: run {name} in {output}"


def going_on(is_finished: IsFinished, done: int, iterations: int) -> str | None:
    """Where a run that was begun goes on; None for one that has nothing finished yet.

    `done` of its `iterations` are finished: `iterations.count`, or less where `stop` has ended it.
    """
    turns: tuple[int | None, ...] = (None, *range(done, iterations))
    places = [(name, turn) for turn in turns for name in STAGES if turn is not None or name == "evaluate"]
    due = next((place for place in places if not is_finished(*place)), None)
    if due is None:
        return "all iterations are finished already"
    return None if due == places[0] else f"goes on with {title(*due)}"


def title(name: str, iteration: int | None) -> str:
    return f"start · {name}" if iteration is None else f"iteration {iteration} · {name}"


def _left(start: float, done: int, total: int) -> str:
    rate = done / (time.monotonic() - start)
    return f"{rate:.1f}/s, about {(total - done) / rate:.0f} s left" if rate else "starting"
