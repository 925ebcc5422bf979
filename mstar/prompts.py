"""From a problem to the chat messages that a policy sees.

Wording changes accuracy by points, so every wording has a version, the version is part of the configuration,
and a published version is never edited: a new wording is a new version. Images come before the text, so that
requests about the same image share the encoder's and the engine's prefix cache.
"""

from typing import Any

from mstar.config import Prompt
from mstar.records import Problem

REASONING_1 = (
    "{question}{choices}\n\n"
    "Work it out in short steps, one step a line. "
    "End with a line that holds nothing but the result: Answer: {form}"
)
FORMS = {
    "choice": "<letter of the choice>",
    "number": "<number>",
    "boolean": "<yes or no>",
    "text": "<a word or a short phrase>",
    "list": "<values, separated by commas>",
    "expression": "<formula>",
}


def build_messages(problem: Problem, prompt: Prompt) -> list[dict[str, Any]]:
    """One user turn: an item for every image, then the question in the words of `prompt.version`."""
    images = [{"type": "image"} for _ in problem.images]
    return [{"role": "user", "content": [*images, {"type": "text", "text": _question(problem, prompt)}]}]


def _question(problem: Problem, prompt: Prompt) -> str:
    match prompt.version:
        case "question-1":
            return problem.question
        case "reasoning-1":
            lettered = (f"\n({chr(65 + index)}) {choice}" for index, choice in enumerate(problem.choices))
            return REASONING_1.format(
                question=problem.question, choices="".join(lettered), form=FORMS[problem.answer_type]
            )
