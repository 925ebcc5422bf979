r"""The final answer that a response states; the last statement wins.

Statements: `Answer: X` (also **bold**, as a heading, "Final answer", "the answer is X", "the correct option
is X", 答案), \boxed{X}, <answer>X</answer>, `#### X` as the last line, "B is the correct answer", "option B
is correct". A statement runs to the end of its line (a box and a tag to their end); where the line ends at
once, the next line that is not empty is it. A chain such as `8+6=14;Answer:14` is one line like any other.

None where a response states no final answer (a value within the reasoning is none), where the last
statement is empty or longer than MAX_ANSWER_CHARACTERS, where a last \boxed{ is never closed, where the
response takes it back afterwards ("Wait, ...") or offers it as one of several ("or the answer is 5").
Behind a <think> block only what follows it counts.

**A bare response**, nothing but an answer on one line of at most MAX_BARE_CHARACTERS ("14", "(B)", "yes"),
is its own statement if all of it reads as the answer type: no equation, no sentence. Linear in the length
of the response; of more than MAX_MENTIONS mentions of a marker word only the last are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from mstar.answers.cleaning import MAX_ANSWER_CHARACTERS, clauses, clean
from mstar.answers.comparison import contradicts, reads_as
from mstar.answers.expected import AnswerType

MAX_BARE_CHARACTERS = 100
MAX_MENTIONS = 200

_GAP = r"[ \t*_`\"']{0,8}"
_EMPHASIS = r"(?:[*_`]{1,3}(?=\s))?[ \t]*"
_VERB = r"(?:is|are|was|would be|should be|must be|will be)\b(?: (?:therefore|thus|then|hence|simply|clearly|just|also)\b)?"
_AFTER_ANSWER = re.compile(
    rf"answers?(?: (?:choice|option|letter|value))?(?: (?:to|for|of) [^\n:.：]{{1,80}}?)?(?:\([^)\n]{{1,30}}\))?{_GAP}"
    rf"(?:(?P<mark>[:：=])|{_VERB}(?=[\s:：*$\\(]))[ \t]*[:：]?{_EMPHASIS}",
)
_DESCRIBES = re.compile(
    r"(?:(?:found|obtained|given|based|derived|calculated|computed|determined|shown|verified|supported|reached)"
    r" (?:by|from|using|on|in|as|with|through|above|below|to)|correct\s*(?:$|[.,;!\n])|as follows)"
)
_QUOTED = re.compile(r'answer"\s*:\s*"?(?P<payload>[^"\n}]{1,1000})', re.IGNORECASE)
_HEADING = re.compile(r"answer[*_ \t]*\n\s*")
_HEADING_LEAD = re.compile(r"(?:^|\n)[#*_ \t]*(?:the )?(?:final |correct |my )?$")
_AFTER_OPTION = re.compile(
    rf"(?:option|choice)(?: letter| number)?{_GAP}(?:[:：]|(?:is|would be|should be|must be)\b)[ \t]*[:：]?{_EMPHASIS}"
)
_AFTER_CHINESE = re.compile(
    r"(?:答案|故选|应选|因此选择)[*_ \t]*(?:应该是|应为|选项?|是|为)?[*_ \t]*[:：]?[*_ \t]*"
)
_AFTER_SHORT = re.compile(rf"ans{_GAP}[.:：=]{_GAP}(?=\S)")
_BEFORE = re.compile(
    r"(?:^|[\s(*\"])(?P<payload>(?:option |choice )?[(\[]?[A-Za-z][)\]]?|[-+]?\d[\d.,/]*)[*\"]*"
    r" (?:is|must be|would be) (?:the |my )?(?:(?:correct|right|best|final) )*$"
)
_BEFORE_CORRECT = re.compile(
    r"(?:option|choice)[ *]+(?P<payload>[(\[]?[A-Za-z][)\]]?)[ *]+is (?:the )?$", re.IGNORECASE
)
_DISOWNED = re.compile(
    r"(?:\b(?:wrong|incorrect|or|maybe|perhaps|possibly|not|isn't)) (?:maybe )?(?:the |my |an? )?(?:final |correct )?$"
)
_TAKEN_BACK = re.compile(
    r"\bwait\s*[,.!:—-]|\bwait\b,?\s+(?:no|that|let|i)\b|\bi made (?:a|an) (?:mistake|error)\b|\bcorrection:"
    r"|\b(?:no|actually),\s+(?:it|that|the answer|this|i)\b",
)
_END_MARKS = re.compile(r"</|<\|")
_JOINT = re.compile(r"[\s$.]{0,6}(?:,|;|or|and|&|/|,\s?or|,\s?and)[\s$]{0,6}", re.IGNORECASE)
_OPEN_DISPLAY = re.compile(r"(?:\$\$|\\\[|```\w*|\*\*)")
_LETTER_PAYLOAD = re.compile(r"[\W_]{0,8}(?:\\[a-z]+\{)?[\W_]{0,4}(?:[A-Z](?![A-Za-z])|[a-z][).\]])")
_CHOSEN = re.compile(r"(?:correct|right|best|final|chosen|appropriate) $")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_SIMPLE = re.compile(r"[\w.,%$ ()+-]{1,24}")
_BLANK = re.compile(r"\s*")
_NOWHERE = -1
_PLAIN_VALUE = r"(?:\(?([A-Za-z])\)?|([-+]?\d{1,30}(?:\.\d{1,30})?))"
_QUICK = re.compile(
    rf"[Aa]nswer(?:\*{{0,2}}:\*{{0,2}}| is:?(?=\s))[ ]{{0,2}}\*{{0,2}}{_PLAIN_VALUE}\.?\*{{0,2}}\s*\Z"
)
_QUICK_BOXED = re.compile(rf"\\boxed\{{{_PLAIN_VALUE}\}}[$.]{{0,3}}\s*\Z")
_QUICK_BEFORE = frozenset({"", "\n", ";", "*", " "})


class _Found(NamedTuple):
    """A statement: where its marker stands, and its text from `start` to `end` (to the line's end for None)."""

    marker: int
    start: int
    end: int | None = None


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
    quick = _quick_statement(response)
    if quick is not None:
        return quick
    text = _without_thoughts(response)
    lowered = _lowered(text)
    found = _last_statement(text, lowered)
    if found is None:
        return _bare(text.strip(), answer_type, choices)
    if found.start == _NOWHERE:
        return None
    start, end = (found.start, found.end) if found.end is not None else _line(text, found.start)
    statement = _bounded(text[start:end].strip())
    if not statement or _TAKEN_BACK.search(lowered, end):
        return None
    return statement


def tidy(statement: str, answer_type: AnswerType | None, choices: tuple[str, ...] = ()) -> str:
    """A statement without emphasis, closing punctuation and, where it reads as its type without it, explanation."""
    if statement.isalnum():
        return statement
    if not _SIMPLE.fullmatch(statement):
        cleaned = clean(statement[:MAX_ANSWER_CHARACTERS])
        for reading in clauses(cleaned):
            if answer_type and reads_as(answer_type, reading, choices) and not contradicts(cleaned, reading):
                return reading
        return cleaned or statement
    return statement.rstrip(" .;,") or statement


def _quick_statement(response: str) -> str | None:
    """The statement of a response that ends in a plain one, such as "Answer: 14": the same result with less work."""
    if response.count("\\boxed") == 1 and "think>" not in response:
        match = _QUICK_BOXED.match(response, response.rfind("\\boxed"))
        return match[1] or match[2] if match else None
    position = response.rfind("nswer") - 1
    match = _QUICK.match(response, position) if position >= 0 else None
    if match is None or "think>" in response:
        return None
    before = response[position - 1 : position]
    if before == " " and _DISOWNED.search(response[max(position - 40, 0) : position].lower()):
        return None
    return (match[1] or match[2]) if before in _QUICK_BEFORE else None


def _without_thoughts(response: str) -> str:
    opened, closed = response.rfind("<think>"), response.rfind("</think>")
    if opened > closed:
        return response[:opened]
    return response[closed + len("</think>") :] if closed >= 0 else response


def _lowered(text: str) -> str:
    """Lower-cased, at the same length."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else text.replace("\u0130", "I").lower()


def _last_statement(text: str, lowered: str) -> _Found | None:
    last: _Found | None = None
    for find in (_boxed, _tagged, _answer, _option, _chinese, _short, _hashes):
        found = find(text, lowered)
        if found is not None and (last is None or found.marker > last.marker):
            last = found
    return last


def _boxed(text: str, lowered: str) -> _Found | None:
    marker = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if marker < 0:
        return None
    opening = text.find("{", marker, marker + 9)
    end = _closing_brace(text, opening) if opening >= 0 else None
    if end is None:
        return _Found(marker, _NOWHERE)
    start, earlier = opening + 1, text.rfind("\\boxed{", 0, marker)
    if earlier >= 0 and marker - earlier <= MAX_ANSWER_CHARACTERS:
        earlier_end = _closing_brace(text, earlier + 6)
        if earlier_end is not None and _JOINT.fullmatch(text, earlier_end + 1, marker):
            return _Found(marker, earlier, end + 1)
    return _Found(marker, start, end)


def _closing_brace(text: str, opening: int) -> int | None:
    depth = 0
    for brace in _BRACE.finditer(text, opening):
        if brace[0] in "{}":
            depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    return None


def _tagged(text: str, lowered: str) -> _Found | None:
    marker = lowered.rfind("<answer>")
    if marker < 0:
        return None
    start = marker + len("<answer>")
    end = lowered.find("</answer>", start)
    return _Found(marker, start, len(text) if end < 0 else end)


def _answer(text: str, lowered: str) -> _Found | None:
    for position in _mentions(lowered, "answer"):
        found = _answer_at(text, lowered, position)
        if found is not None:
            return found
    return None


def _mentions(lowered: str, word: str) -> Iterator[int]:
    """Where a word stands, from the last one backwards, MAX_MENTIONS at most."""
    position = len(lowered)
    for _ in range(MAX_MENTIONS):
        position = lowered.rfind(word, 0, position)
        if position < 0:
            return
        yield position


def _answer_at(text: str, lowered: str, position: int) -> _Found | None:
    before = lowered[max(position - 40, 0) : position]
    after = None if lowered.startswith('answer"', position) else _AFTER_ANSWER.match(lowered, position)
    if after and (after["mark"] or not _DESCRIBES.match(lowered, after.end())):
        disowned = _DISOWNED.search(before)
        return _Found(position, _NOWHERE if disowned else after.end())
    quoted = _QUOTED.match(text, position)
    if quoted:
        return _Found(position, quoted.start("payload"), quoted.end("payload"))
    heading = _HEADING.match(lowered, position)
    if heading and _HEADING_LEAD.search(before):
        return _Found(position, heading.end())
    return _payload_before(_BEFORE, text, position)


def _payload_before(pattern: re.Pattern[str], text: str, position: int) -> _Found | None:
    offset = max(position - 60, 0)
    reverse = pattern.search(text[offset:position])
    return (
        _Found(position, offset + reverse.start("payload"), offset + reverse.end("payload"))
        if reverse
        else None
    )


def _option(text: str, lowered: str) -> _Found | None:
    found = []
    for word in ("option", "choice"):
        positions = _mentions(lowered, word)
        found.append(
            next(filter(None, (_option_at(text, lowered, position) for position in positions)), None)
        )
    position = lowered.rfind("correct")
    found.append(_payload_before(_BEFORE_CORRECT, text, position) if position >= 0 else None)
    return max(filter(None, found), key=lambda statement: statement.marker, default=None)


def _option_at(text: str, lowered: str, position: int) -> _Found | None:
    after = _AFTER_OPTION.match(lowered, position)
    if after is None or _DESCRIBES.match(lowered, after.end()):
        return None
    before = lowered[max(position - 40, 0) : position]
    if _DISOWNED.search(before) or not (_CHOSEN.search(before) or _LETTER_PAYLOAD.match(text, after.end())):
        return None
    return _Found(position, after.end())


def _chinese(text: str, lowered: str) -> _Found | None:
    position = max(text.rfind("答案"), text.rfind("故选"), text.rfind("应选"), text.rfind("因此选择"))
    after = _AFTER_CHINESE.match(text, position) if position >= 0 else None
    return _Found(position, after.end()) if after else None


def _short(text: str, lowered: str) -> _Found | None:
    for position in _mentions(lowered, "ans"):
        after = _AFTER_SHORT.match(lowered, position)
        if after and not lowered[max(position - 1, 0) : position].isalpha():
            return _Found(position, after.end())
    return None


def _hashes(text: str, lowered: str) -> _Found | None:
    marker = text.rfind("####")
    if marker < 0 or text[marker - 1 : marker] not in ("", "\n"):
        return None
    start = marker + 4
    return (
        _Found(marker, start)
        if "\n" not in text[start:].strip() and "\n" not in text[start:].lstrip()
        else None
    )


def _line(text: str, start: int) -> tuple[int, int]:
    """From `start` to its line's end, or the next line that says something."""
    length = len(text)
    start = _BLANK.match(text, start).end()  # type: ignore[union-attr]
    while True:
        end = text.find("\n", start)
        end = length if end < 0 else end
        mark = _END_MARKS.search(text, start, end)
        line = text[start : mark.start() if mark else end].strip()
        if mark or end == length or (line and not _OPEN_DISPLAY.fullmatch(line)):
            return start, mark.start() if mark else end
        start = end + 1


def _bounded(statement: str) -> str:
    """A statement too long to be an answer, cut to its first sentence if that is short enough."""
    if len(statement) <= MAX_ANSWER_CHARACTERS:
        return statement
    sentence_end = re.search(r"[.!?]\s|\s(?:because|since)\s", statement[:MAX_ANSWER_CHARACTERS])
    return statement[: sentence_end.end()].strip() if sentence_end else ""


def _bare(text: str, answer_type: AnswerType | None, choices: tuple[str, ...]) -> str | None:
    text = _END_MARKS.split(text, maxsplit=1)[0].strip() if len(text) <= 2 * MAX_BARE_CHARACTERS else text
    if not text or len(text) > MAX_BARE_CHARACTERS or "\n" in text:
        return None
    types: tuple[AnswerType, ...] = (answer_type,) if answer_type else ("number", "choice", "boolean")
    return text if any(reads_as(kind, text, choices) for kind in types) else None
