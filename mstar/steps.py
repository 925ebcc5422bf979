"""Where the steps of a response are, and how their scores become one reward (arXiv 2412.17451, section 2)."""

import math
from collections.abc import Sequence
from typing import Literal


def step_ends(text: str, separator: str) -> list[int]:
    """The end of each step as an offset into the text. A step ends with its separator, the last one with the
    text.
    """
    ends: list[int] = []
    start = 0
    while (found := text.find(separator, start)) >= 0:
        start = found + len(separator)
        if text[ends[-1] if ends else 0 : found].strip():
            ends.append(start)
    if text[start:].strip() or not ends:
        ends.append(len(text))
    return ends


def aggregate_steps(step_scores: Sequence[float], how: Literal["min", "mean", "product", "last"]) -> float:
    """One number for a response. No steps at all aggregate to 0."""
    if not step_scores:
        return 0.0
    match how:
        case "min":
            return min(step_scores)
        case "mean":
            return sum(step_scores) / len(step_scores)
        case "product":
            return math.prod(step_scores)
        case "last":
            return step_scores[-1]
