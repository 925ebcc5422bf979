"""Problems that stay in memory, so that they need not be read again."""

from mstar.records import Problem

HELD_BYTES = 1 << 25
"""Problems that are kept in memory once they were read, with the images that their rows embed."""
PROBLEM_BYTES = 1024
"""What a problem takes besides its question and images."""


class Held:
    """Problems that stay in memory by row, as far as there is room: a sweep's temperatures, the judging and
    the training ask for them again.
    """

    def __init__(self, room: int) -> None:
        """`room` is in bytes."""
        self.problems: dict[int, Problem] = {}
        self.room = room

    def add(self, row: int, problem: Problem) -> None:
        size = problem_bytes(problem)
        if size <= self.room:
            self.problems[row] = problem
            self.room -= size


def problem_bytes(problem: Problem) -> int:
    """What a problem takes in memory, about."""
    images = sum(len(image.data or b"") for image in problem.images)
    return PROBLEM_BYTES + len(problem.question) + images
