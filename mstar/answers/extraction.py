r"""The final answer that a response states; the last statement wins.

Statements: `Answer: X` (also **bold**, as a heading, "Final answer", "the answer is X", "the correct option
is X", 答案), \boxed{X}, <answer>X</answer>, `#### X` as the last line, "B is the correct answer", "option B
is correct". A statement runs to the end of its line (a box and a tag to their end); where the line ends at
once, the next line that is not empty is it. A chain such as `8+6=14;Answer:14` is one line like any other.

None where a response states no final answer (a value within the reasoning is none), where the last
statement is empty or longer than MAX_ANSWER_CHARACTERS, where a last \boxed{ is never closed, where the
response disowns it or takes it back (`doubt`). Behind a <think> block only what follows it counts.

Without a marker, `unmarked` looks for an answer.
"""

from functools import lru_cache

from mstar.answers.cleaning import CONTRAST, MAX_ANSWER_CHARACTERS, clauses, clean
from mstar.answers.comparison import reads_as
from mstar.answers.doubt import is_taken_back
from mstar.answers.expected import AnswerType
from mstar.answers.markers import NOWHERE, WORDS, last_statement
from mstar.answers.patterns import late
from mstar.answers.unmarked import END_MARKS, unmarked

_OPEN_DISPLAY = late(r"(?:\$\$|\\\[|```\w*|\*\*)")
_LETTER = late(r"\(?([A-Za-z])\)?[ .;,]*")
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
    """A statement without emphasis, closing punctuation and (where it reads as its type) explanation.

    A letter stands alone: "(B)." is "B".
    """
    letter = _LETTER.fullmatch(statement)
    if letter or statement.isalnum():
        return letter[1] if letter else statement
    cleaned = clean(statement)
    for reading, rest in clauses(cleaned):
        if reads_as(answer_type, reading, choices) and not is_taken_back(rest, reading):
            return reading
    return cleaned or statement


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
