"""The `mstar` command, and `python -m mstar`.

It listens for signals before it imports anything else: what the first process of a container does not listen
for is lost, and importing takes a while.
"""

import sys

from mstar.stopping import Stopped, listen, say_where


def main() -> None:
    """The entry point of the `mstar` command."""
    listen()
    try:
        from mstar.cli import main as command

        command()
    except Stopped as stopped:
        print(say_where(stopped), file=sys.stderr)
        sys.exit(stopped.exit_code)


if __name__ == "__main__":
    main()
