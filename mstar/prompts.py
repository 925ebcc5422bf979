"""From a problem to what an engine is asked: chat messages, images, and what is already written.

Wording changes accuracy by points, so every wording has a version, the version is part of the configuration,
and a published version is never edited: a new wording is a new version. Images come before the text, so that
requests about the same image share the encoder's and the engine's prefix cache. Who asks for something else
(continuations of a step, a solution with the answer given) adds a function that builds its requests here.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mstar.config import Prompt
from mstar.records import ImageSource, Problem

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


@dataclass(frozen=True, slots=True)
class Request:
    """What an engine is asked."""

    id: str
    """The problem's id: what messages to the user name."""
    messages: list[dict[str, Any]]
    """In the form of chat templates; `{"type": "image"}` items stand for `images`, in order."""
    images: tuple[ImageSource, ...] = ()
    prefix: str = ""
    """The response begins with this; an engine returns only what follows it."""
    seed: int = 0
    """In [0, 2**63): all randomness of this request's samples, which does not depend on its neighbours."""


def build_request(problem: Problem, prompt: Prompt, seed: int = 0, prefix: str = "") -> Request:
    """One user turn: an item for every image, and the question in the words of `prompt.version`, which begin
    with it. Images come first, or where the question has them.
    """
    text = _question(problem, prompt)
    places = problem.image_places or (0,) * len(problem.images)
    content: list[dict[str, Any]] = []
    for start, end in pairwise((0, *places)):
        content += [*_text(text[start:end]), {"type": "image"}]
    content += _text(text[places[-1] if places else 0 :])
    return Request(problem.id, [{"role": "user", "content": content}], problem.images, prefix, seed)


def _text(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}] if text else []


def _question(problem: Problem, prompt: Prompt) -> str:
    match prompt.version:
        case "question-1":
            return problem.question
        case "reasoning-1":
            lettered = (f"\n({chr(65 + index)}) {choice}" for index, choice in enumerate(problem.choices))
            return REASONING_1.format(
                question=problem.question, choices="".join(lettered), form=FORMS[problem.answer_type]
            )
