"""The `mstar` command, and `python -m mstar`.

It listens for signals before it imports anything else: what the first process of a container does not listen
for is lost, and importing takes a while.
"""

import atexit
import os
import sys
from typing import NoReturn

from mstar.stopping import Stopped, listen, say_where


def main() -> None:
    """The entry point of the `mstar` command."""
    listen()
    try:
        from mstar.cli import main as command

        command()
    except Stopped as stopped:
        print(say_where(stopped), file=sys.stderr)
        _leave(stopped.exit_code)


def _leave(exit_code: int) -> NoReturn:
    """Without freeing all that torch and vLLM hold, one by one: that takes seconds, and a cluster waits for a
    few. What is registered to be done at the end is done.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


if __name__ == "__main__":
    main()
