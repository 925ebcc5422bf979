"""Every answer type is asked for, and has its rule. The wording is tested with the engine."""

from typing import get_args

from mstar.answers import AnswerType
from mstar.answers.golds import RULES
from mstar.prompts import FORMS


def test_every_answer_type_is_asked_for_and_has_its_rule() -> None:
    assert set(FORMS) == set(RULES) == set(get_args(AnswerType))
