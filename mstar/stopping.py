"""Ctrl-C, and the signal with which a cluster ends a pod: one line that says where, and no traceback.

Nothing has to be saved: a stage's finished parts count already, and the same command goes on there. The first
signal raises `Stopped` wherever the main thread is, so that engines give their memory back on the way; a
second one ends the process at once. Python's own KeyboardInterrupt will not do: the command-line library
takes it for itself and says "Aborted!", and a process that is the first of its container ignores SIGTERM.

Python ignores what is raised while it tidies up (in a finalizer, say); there the exception is raised again.
"""

import signal
import sys
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGAIN_SECONDS = 0.01


class Stopped(BaseException):
    """Somebody asked this process to end. Stages add a note that says how far they were."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def listen() -> None:
    """From now on the first of these signals raises Stopped in the main thread."""
    for number in SIGNALS:
        signal.signal(number, _stop)
    others = sys.unraisablehook

    def hook(ignored: "sys.UnraisableHookArgs") -> None:
        if isinstance(ignored.exc_value, Stopped):
            _raise_soon(ignored.exc_value)
        else:
            others(ignored)

    sys.unraisablehook = hook


def say_where(stopped: Stopped) -> str:
    """The one line: where it stopped, and how to go on; outside a stage there is nothing to go on with."""
    notes = getattr(stopped, "__notes__", [])
    if not notes:
        return "stopped; nothing is lost, the same command can be started again"
    return f"stopped in {notes[0]}; what is finished is kept, the same command goes on there"


def _stop(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    raise Stopped(number)


def _raise_soon(stopped: Stopped) -> None:
    def again(number: int, frame: FrameType | None) -> None:
        raise stopped

    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
