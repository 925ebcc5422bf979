"""What is expected of an answer, and what a check of one answer found; no logic.

Records of this package are named tuples where one is made per response: half the cost of a frozen dataclass.
"""

from typing import Literal, NamedTuple, get_args

AnswerType = Literal["choice", "number", "boolean", "text", "list", "expression"]

ANSWER_TYPES: tuple[AnswerType, ...] = get_args(AnswerType)


class Expected(NamedTuple):
    """A gold answer and how to compare with it.

    `precision` is the number of decimals that the answer is rounded to; None means as many as the gold
    shows. `unit` may stand here or in the gold itself. `choices` are the contents of the choices A, B, C,
    ... in order. `other_answers` are golds that are accepted as well as `answer`.
    """

    answer: str
    answer_type: AnswerType
    choices: tuple[str, ...] = ()
    precision: int | None = None
    unit: str | None = None
    other_answers: tuple[str, ...] = ()

    @property
    def answers(self) -> tuple[str, ...]:
        """All accepted golds."""
        return (self.answer, *self.other_answers)


class Judgement(NamedTuple):
    """`extracted` is the final answer that the response states, None where it states none.

    `timed_out` says that the comparison did not finish before its deadline, `failed` that it raised or that
    its worker process died; such an answer is not correct.
    """

    extracted: str | None
    correct: bool
    timed_out: bool = False
    failed: bool = False
