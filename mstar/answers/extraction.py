r"""The final answer that a response states; the last statement wins.

The statement behind the last marker (`markers`) runs to the end of its line (boxes and tags to their end), or
is the next line that is not empty, where its own ends at once. Behind a <think> block only what follows it
counts. Without a marker, `unmarked` looks for an answer.

None where no final answer is stated (a value within the reasoning is none), where the last statement is empty
or longer than MAX_ANSWER_CHARACTERS, or where the response disowns it or takes it back (`doubt`).
"""

from functools import lru_cache

from mstar.answers.cleaning import CONTRAST, MAX_ANSWER_CHARACTERS, clean
from mstar.answers.comparison import stated_answer
from mstar.answers.doubt import is_taken_back
from mstar.answers.expected import AnswerType
from mstar.answers.markers import NOWHERE, WORDS, last_statement
from mstar.answers.patterns import late
from mstar.answers.unmarked import END_MARKS, unmarked

_OPEN_DISPLAY = late(r"(?:\$\$|\\\[|```\w*|\*\*)")
_SENTENCE_END = late(r"[.!?]\s|\s(?:because|since)\s")
_BLANK = late(r"\s*(?:(?<=\n)[>*•-] )?")


def extract(response: str, answer_type: AnswerType, choices: tuple[str, ...] = ()) -> str | None:
    """The final answer that a response states, without its explanation, or None."""
    statement = find_statement(response, answer_type, choices)
    return None if statement is None else tidy(statement, answer_type, choices)


def find_statement(response: str, answer_type: AnswerType, choices: tuple[str, ...]) -> str | None:
    """The last statement of a final answer as it stands, with what follows it on its line."""
    opened, closed = response.rfind("<think>"), response.rfind("</think>")
    text = response[:opened] if opened > closed else response[closed + 8 :] if closed >= 0 else response
    found = last_statement(text, _lowered(text, choices))
    if found is None:
        return unmarked(text.strip(), answer_type, choices)
    if found.start == NOWHERE:
        return None
    start, end = (found.start, found.end) if found.end is not None else _line(text, found.start)
    if end - start > MAX_ANSWER_CHARACTERS:
        sentence_end = _SENTENCE_END.search(text, start, start + MAX_ANSWER_CHARACTERS)
        end = sentence_end.end() if sentence_end else start
    statement = CONTRAST.sub("", text[start:end].strip(), count=1)
    return None if not statement or is_taken_back(text[end:], statement) else statement


def tidy(statement: str, answer_type: AnswerType, choices: tuple[str, ...] = ()) -> str:
    """A statement without emphasis, closing punctuation and (where it reads as its type) explanation."""
    cleaned = clean(statement)
    return stated_answer(answer_type, cleaned, choices) or cleaned or statement


def _lowered(text: str, choices: tuple[str, ...]) -> str:
    """Lower-cased, at the same length, and without the choices whose contents hold a marker's words."""
    lowered = text.lower()
    if len(lowered) != len(text):
        lowered = text.replace("\u0130", "I").lower()
    for content in _misleading(choices):
        lowered = lowered.replace(content, "\0" * len(content))
    return lowered


@lru_cache(maxsize=8192)
def _misleading(choices: tuple[str, ...]) -> list[str]:
    contents = [choice.strip().lower() for choice in choices if " " in choice.strip()]
    return [content for content in contents if any(word in content for word in WORDS)]


def _line(text: str, start: int) -> tuple[int, int]:
    """From `start` to its line's end, or the next line that says something."""
    start = _BLANK.match(text, start).end()  # type: ignore[union-attr]
    while True:
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        mark = END_MARKS.search(text, start, end)
        line = text[start : mark.start() if mark else end].strip()
        if mark or end == len(text) or (line and not _OPEN_DISPLAY.fullmatch(line)):
            return start, mark.start() if mark else end
        start = end + 1
