r"""The final answer that a response states; the last statement wins.

Statements: `Answer: X` (also **bold**, as a heading, "Final answer", "the answer is X", "the correct option
is X", 答案), \boxed{X}, <answer>X</answer>, `#### X` as the last line, "B is the correct answer", "option B
is correct". A statement runs to the end of its line (a box and a tag to their end); where the line ends at
once, the next line that is not empty is it. A chain such as `8+6=14;Answer:14` is one line like any other.

None where a response states no final answer (a value within the reasoning is none), where the last
statement is empty or longer than MAX_ANSWER_CHARACTERS, where a last \boxed{ is never closed, where the
response disowns it or takes it back (`doubt`). Behind a <think> block only what follows it counts.

Without a marker, what the last line sets in bold counts if it alone reads as the answer type ("That leaves
**$150**."), and so does **a bare response**: nothing but an answer on one line of at most MAX_BARE_CHARACTERS
("14", "(B)", "yes", "x = 14"), before an explanation if need be: no calculation, no sentence.
"""

import re

from mstar.answers.cleaning import MAX_ANSWER_CHARACTERS, clauses, clean
from mstar.answers.comparison import reads_as
from mstar.answers.doubt import is_disowned, is_taken_back
from mstar.answers.expected import AnswerType
from mstar.answers.markers import NOWHERE, WORDS, last_statement

MAX_BARE_CHARACTERS = 100
LINE_CHARACTERS = 1000

_END_MARKS = re.compile(r"</(?!(?:b|i|u|em|strong|span|p|sup|sub)>)|<\|")
_OPEN_DISPLAY = re.compile(r"(?:\$\$|\\\[|```\w*|\*\*)")
_LETTER = re.compile(r"\(?([A-Za-z])\)?[ .;,]*")
_SENTENCE_END = re.compile(r"[.!?]\s|\s(?:because|since)\s")
_BOLD = re.compile(r"\*\*([^*\n]{1,100})\*\*")
_PHRASE = re.compile(r"[^.,;:!?(]*")
_EXPLANATION = re.compile(r"\n\s*\**(?:explanation|reason(?:ing)?|rationale|because)\b.*", re.I | re.S)
_BLANK = re.compile(r"\s*(?:(?<=\n)[>*•-] )?")


def extract(
    response: str, answer_type: AnswerType | None = None, choices: tuple[str, ...] = ()
) -> str | None:
    """The final answer that a response states, without its explanation, or None.

    Without an answer type, a bare response counts only as a number, a letter or yes/no.
    """
    statement = find_statement(response, answer_type, choices)
    return None if statement is None else tidy(statement, answer_type, choices)


def find_statement(response: str, answer_type: AnswerType | None, choices: tuple[str, ...]) -> str | None:
    """The last statement of a final answer as it stands, with what follows it on its line."""
    opened, closed = response.rfind("<think>"), response.rfind("</think>")
    text = response[:opened] if opened > closed else response[closed + 8 :] if closed >= 0 else response
    found = last_statement(text, _lowered(text, choices))
    if found is None:
        stressed = _stressed(text, answer_type, choices) if answer_type else None
        return stressed or _bare(text.strip(), answer_type, choices)
    if found.start == NOWHERE:
        return None
    start, end = (found.start, found.end) if found.end is not None else _line(text, found.start)
    if end - start > MAX_ANSWER_CHARACTERS:
        sentence_end = _SENTENCE_END.search(text, start, start + MAX_ANSWER_CHARACTERS)
        end = sentence_end.end() if sentence_end else start
    statement = text[start:end].strip()
    return None if not statement or is_taken_back(text[end:], statement) else statement


def tidy(statement: str, answer_type: AnswerType | None, choices: tuple[str, ...] = ()) -> str:
    """A statement without emphasis, closing punctuation and (where it reads as its type) explanation.

    A letter stands alone: "(B)." is "B".
    """
    letter = _LETTER.fullmatch(statement)
    if letter or statement.isalnum():
        return letter[1] if letter else statement
    cleaned = clean(statement)
    for reading, rest in clauses(cleaned):
        if answer_type and reads_as(answer_type, reading, choices) and not is_taken_back(rest, reading):
            return reading
    return cleaned or statement


def _lowered(text: str, choices: tuple[str, ...]) -> str:
    """Lower-cased, at the same length, and without the choices whose contents hold a marker's words."""
    lowered = text.lower()
    if len(lowered) != len(text):
        lowered = text.replace("\u0130", "I").lower()
    for choice in choices:
        content = choice.strip().lower()
        if " " in content and any(word in content for word in WORDS):
            lowered = lowered.replace(content, "\0" * len(content))
    return lowered


def _line(text: str, start: int) -> tuple[int, int]:
    """From `start` to its line's end, or the next line that says something."""
    start = _BLANK.match(text, start).end()  # type: ignore[union-attr]
    while True:
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        mark = _END_MARKS.search(text, start, end)
        line = text[start : mark.start() if mark else end].strip()
        if mark or end == len(text) or (line and not _OPEN_DISPLAY.fullmatch(line)):
            return start, mark.start() if mark else end
        start = end + 1


def _bare(text: str, answer_type: AnswerType | None, choices: tuple[str, ...]) -> str | None:
    text = _END_MARKS.split(text, maxsplit=1)[0].strip() if len(text) <= 2 * MAX_BARE_CHARACTERS else text
    text = _EXPLANATION.split(text[: 2 * MAX_BARE_CHARACTERS], maxsplit=1)[0] or text
    if not text or len(text) > MAX_BARE_CHARACTERS or "\n" in text:
        return None
    types: tuple[AnswerType, ...] = (answer_type,) if answer_type else ("number", "choice", "boolean")
    return text if any(reads_as(kind, text, choices) for kind in types) else None


def _stressed(text: str, answer_type: AnswerType, choices: tuple[str, ...]) -> str | None:
    """What the last line sets in bold, if that is one answer of the type; with a unit behind it."""
    line = text.rstrip()[-LINE_CHARACTERS:].rpartition("\n")[2]
    found = [bold for bold in _BOLD.finditer(line) if reads_as(answer_type, bold[1], choices)]
    if len(found) != 1 or is_disowned(line[: found[0].start()].lower()):
        return None
    stated, rest = found[0][1], line[found[0].end() :]
    phrase = _PHRASE.match(rest)[0]  # type: ignore[index]
    if answer_type == "number" and reads_as(answer_type, f"{stated} {phrase}", choices):
        stated, rest = f"{stated} {phrase}", rest[len(phrase) :]
    return None if is_taken_back(rest, stated) else stated
