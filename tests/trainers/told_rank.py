"""A rank that does what its lesson says, without a model: `python -m tests.trainers.told_rank`.

A lesson is for each rank a list of words: what it says to the stage, and how it ends.
"""

import os
import signal
import sys
import time

from mstar.trainers.ranks import Parent


def main() -> None:
    parent = Parent()
    for word in parent.lesson[parent.rank]:
        match word.split(" ", 1):
            case ["tell", text]:
                parent.tell(said=text)
            case ["ask", text]:
                parent.tell(said=parent.ask(asked=text))
            case ["refuse", text]:
                parent.refuse(text)
                sys.exit(2)
            case ["raise", text]:
                raise RuntimeError(text)
            case ["wait"]:
                while True:
                    time.sleep(0.2)
                    parent.tell(said="still here")
            case ["hang"]:
                time.sleep(600)
            case ["die"]:
                os.kill(os.getpid(), signal.SIGKILL)
            case _:
                raise ValueError(word)


if __name__ == "__main__":
    main()
