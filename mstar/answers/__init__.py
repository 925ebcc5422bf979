"""Extracts final answers from responses and compares them with gold answers, by answer type.

    with AnswerChecker() as checker:
        checker.check(Expected("14", "number"), "8+6=14\\nAnswer: 14").correct

The rules stand where they are applied: `extraction` (which statement counts), `comparison` (boolean, text,
list and the dispatch), `choices`, `quantities`, `units`, `expressions`, `doubt`. Imports nothing of mstar.
"""

from mstar.answers.checker import AnswerChecker
from mstar.answers.expected import ANSWER_TYPES, AnswerType, Expected, Judgement
from mstar.answers.extraction import extract

__all__ = ["ANSWER_TYPES", "AnswerChecker", "AnswerType", "Expected", "Judgement", "extract"]
