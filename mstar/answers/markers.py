r"""The markers of a final answer in a response, and where the statement behind the last of them lies.

Each finder returns the last statement of one kind of marker: a box, a tag, "answer:" and "the answer is",
"the correct option is", 答案, "ans:", and `####` on the last line. Searches go backwards from the end, word
by word, so that a long response costs what its tail costs. Offsets hold for the response and for its
lower-cased copy alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from mstar.answers.cleaning import MAX_ANSWER_CHARACTERS
from mstar.answers.doubt import is_disowned

MAX_MENTIONS = 200
LEAD_CHARACTERS = 200
NOWHERE = -1

_GAP = r"[ \t*_`\"']{0,8}"
_EMPHASIS = r"(?:[*_`]{1,3}(?=\s))?[ \t]*"
_ADVERB = (
    r"(?:[, ]{1,2}(?:therefore|thus|then|hence|so|simply|clearly|just|also|still|definitely|certainly|indeed|obviously"
    r"|surely|actually|really|exactly|precisely|most likely),?)"
)
_VERB = (
    rf"{_ADVERB}?(?:(?:\b|(?<=[\w,*]) )(?:is|are|was|were|(?:would|should|must|will|has to)(?: \w+)? be|turns out to be|comes out to be"
    rf"|comes to|remains|stays|equals|is equal to|works out to be|becomes)\b)(?: equal to\b)?{_ADVERB}?"
)
_AFTER_ANSWER = re.compile(
    rf"answers?(?: (?:choice|option|letter|value))?(?: (?:to|for|of|in|from|on|about|among|based|according|given|that|which|here) (?:[^\n:.：\"]|\"[^\"\n]{{1,150}}\"){{1,80}}?(?=[\s:：*,]))?"
    rf"(?:\([^)\n]{{1,30}}\))?{_GAP}"
    rf"(?:(?P<mark>[:：]|[-=]>|→|=|[-–—](?=[ \t]))|{_VERB}(?=[\s:：*$\\(]))[ \t]*[:：]?{_EMPHASIS}",
)
DESCRIBES = re.compile(
    r"(?:(?:found|obtained|given|based|derived|calculated|computed|determined|shown|verified|supported|reached|\w{3,}ed)"
    r" (?:by|from|using|on|in|as|with|through|above|below|to)|correct\s*(?:$|[.,;!\n])|as follows|below\b|above\b|(?:very |most |quite |really )?(?:helpful|useful|clear|satisfactory|understandable)\b)"
)
_ABOUT_THE_ANSWER = re.compile(
    r"\b(?:this|that|(?:hope|if|whether|why|how|what|where|since|because) (?:the|my|your|our)(?: final)?) \Z"
)
_QUOTED = re.compile(r"answer[\"']\s*:\s*[\"']?(?P<payload>[^\"'\n}]{1,1000})", re.IGNORECASE)
_HEADING = re.compile(r"answer[*_ \t]*\n\s*")
_HEADING_LEAD = re.compile(r"(?:^|\n)[#*_ \t]*(?:the )?(?:final |correct |my )?$")
_AFTER_OPTION = re.compile(
    rf"(?:option|choice)(?: letter| number)?{_GAP}(?:[:：]|{_VERB}(?=[\s:：*$\\(]))[ \t]*[:：]?{_EMPHASIS}"
)
_CHINESE_WORDS = (
    "答案",
    "答：",
    "答:",
    "正确选项",
    "正确的选项",
    "故选",
    "应选",
    "该选",
    "此选",
    "以选",
    "题选",
)
_AFTER_CHINESE = re.compile(
    r"(?:答案|答(?=[:：])|正确的?选项|[故应该此以题]选)[*_ \t】]*(?:应该|应|选择|择|选项?|是|为)*[*_ \t]*[:：]?[*_ \t]*(?:选项?)?\s*"
)
_AFTER_SHORT = re.compile(rf"ans{_GAP}[.:：=]{_GAP}(?=\S)")
_BEFORE = re.compile(
    r"(?:^|[\s(*\"])(?P<payload>(?:option |choice )?[(\[]?[A-Za-z][)\]]?|[-+]?\d[\d.,/]*)[*\"]*"
    r" (?:is|must be|would be) (?:the |my )?(?:(?:correct|right|best|final) )*$"
)
_CHINESE_BEFORE = re.compile(
    r"(?:选项|选择?)?\s*(?P<payload>[(（]?[A-Za-z][)）]?)\s*(?:选项)?(?:是|为)?(?:正确|对的)"
)
_BEFORE_CORRECT = re.compile(
    r"(?:option|choice)[ *]+(?P<payload>[(\[]?[A-Za-z][)\]]?)[ *]+is (?:the )?$", re.IGNORECASE
)
_JOINT = re.compile(
    r"(?:[\s$.,;&/\\()\[\]]|(?<![A-Za-z])(?:or|and|text|quad)(?![A-Za-z])|[{}]|[A-Za-z]\s?=){0,20}",
    re.IGNORECASE,
)
_BOX_SIGN = re.compile(r"[-−\d]$")
_BOXED_NUMBER = re.compile(r"\s*(?:[-+.\d$]|\\(?:d?frac|sqrt|pi))")
_BOX_UNIT = re.compile(
    r"(?:\\[,;:! )]|[\s$])*(?:\\pi\b|[\^!√π]|\\sqrt|(?:\\(?:text|mathrm)\{\s*)?[A-Za-z°%µ][A-Za-z/°]{0,12}(?!\w))"
    r"[\w^{}²³\\]{0,12}(?=\s*(?:$|[$.,;\n]|\\[)\]]))"
)
_LETTER_PAYLOAD = re.compile(r"[\W_]{0,8}(?:\\[a-z]+\{)?[\W_]{0,4}(?:[A-Z](?![A-Za-z])|[a-z][).\]])")
_CHOSEN = re.compile(r"(?:correct|right|best|final|chosen|appropriate) $")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


class Statement(NamedTuple):
    """Where the marker of a statement stands, and its text from `start` to `end` (None: the line's end)."""

    marker: int
    start: int
    end: int | None = None


def last_statement(text: str, lowered: str) -> Statement | None:
    last: Statement | None = None
    for find in (_boxed, _tagged, _answer, _option, _chinese, _short, _hashes):
        found = find(text, lowered)
        if found is not None and (last is None or found.marker > last.marker):
            last = found
    return last


def _boxed(text: str, lowered: str) -> Statement | None:
    """The last box, with those that are joined to it: `\\boxed{2}, \\boxed{3}` is one statement."""
    marker = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if marker < 0:
        return None
    opening = text.find("{", marker, marker + 9)
    end = _closing_brace(text, opening) if opening >= 0 else None
    if end is None:
        return Statement(marker, NOWHERE)
    first = marker
    while (earlier := text.rfind("\\boxed{", max(first - MAX_ANSWER_CHARACTERS, 0), first)) >= 0:
        earlier_end = _closing_brace(text, earlier + 6)
        if earlier_end is None or not _JOINT.fullmatch(text, earlier_end + 1, first):
            break
        first = earlier
        if marker - first > MAX_ANSWER_CHARACTERS:
            return Statement(marker, NOWHERE)
    before = _BOX_SIGN.search(text, max(first - 3, 0), first)
    behind = _BOX_UNIT.match(text, end + 1) if _BOXED_NUMBER.match(text, opening + 1) else None
    if first == marker and not before and not behind:
        return Statement(marker, opening + 1, end)
    return Statement(marker, before.start() if before else first, behind.end() if behind else end + 1)


def _closing_brace(text: str, opening: int) -> int | None:
    depth = 0
    for brace in _BRACE.finditer(text, opening):
        if brace[0] in "{}":
            depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    return None


def _tagged(text: str, lowered: str) -> Statement | None:
    found = None
    for opening, closing in (("<answer>", "</answer>"), ("<|begin_of_box|>", "<|end_of_box|>")):
        marker = lowered.rfind(opening)
        if marker >= 0 and (found is None or marker > found.marker):
            start = marker + len(opening)
            end = lowered.find(closing, start)
            found = Statement(marker, start, len(text) if end < 0 else end)
    return found


def _answer(text: str, lowered: str) -> Statement | None:
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


def _answer_at(text: str, lowered: str, position: int) -> Statement | None:
    before = lowered[max(position - LEAD_CHARACTERS, 0) : position]
    if _ABOUT_THE_ANSWER.search(before):
        return None
    after = (
        None
        if lowered.startswith(('answer"', "answer'"), position)
        else _AFTER_ANSWER.match(lowered, position)
    )
    if after and (after["mark"] or not DESCRIBES.match(lowered, after.end())):
        return Statement(position, NOWHERE if is_disowned(before) else after.end())
    quoted = _QUOTED.match(text, position)
    if quoted:
        return Statement(position, quoted.start("payload"), quoted.end("payload"))
    heading = _HEADING.match(lowered, position)
    if heading and _HEADING_LEAD.search(before):
        return Statement(position, heading.end())
    return _payload_before(_BEFORE, text, position)


def _payload_before(pattern: re.Pattern[str], text: str, position: int) -> Statement | None:
    offset = max(position - 60, 0)
    reverse = pattern.search(text[offset:position])
    return (
        Statement(position, offset + reverse.start("payload"), offset + reverse.end("payload"))
        if reverse
        else None
    )


def _option(text: str, lowered: str) -> Statement | None:
    found = []
    for word in ("option", "choice"):
        if word not in lowered:
            continue
        positions = _mentions(lowered, word)
        found.append(
            next(filter(None, (_option_at(text, lowered, position) for position in positions)), None)
        )
    position = lowered.rfind("correct")
    found.append(_payload_before(_BEFORE_CORRECT, text, position) if position >= 0 else None)
    return max(filter(None, found), key=lambda statement: statement.marker, default=None)


def _option_at(text: str, lowered: str, position: int) -> Statement | None:
    after = _AFTER_OPTION.match(lowered, position)
    if after is None or DESCRIBES.match(lowered, after.end()):
        return None
    before = lowered[max(position - LEAD_CHARACTERS, 0) : position]
    if is_disowned(before) or not (_CHOSEN.search(before) or _LETTER_PAYLOAD.match(text, after.end())):
        return None
    return Statement(position, after.end())


def _chinese(text: str, lowered: str) -> Statement | None:
    if text.isascii():
        return None
    position = max(text.rfind(word) for word in _CHINESE_WORDS)
    correct = text.rfind("正确")
    before = _CHINESE_BEFORE.search(text, max(correct - 12, 0)) if correct >= 0 else None
    if before and before.end() - correct < 8 and correct + 4 >= position:
        return Statement(correct + 2, before.start("payload"), before.end("payload"))
    after = _AFTER_CHINESE.match(text, position) if position >= 0 else None
    return Statement(position, after.end()) if after else None


def _short(text: str, lowered: str) -> Statement | None:
    for position in _mentions(lowered, "ans"):
        after = _AFTER_SHORT.match(lowered, position)
        if after and not lowered[max(position - 1, 0) : position].isalpha():
            return Statement(position, after.end())
    return None


def _hashes(text: str, lowered: str) -> Statement | None:
    marker = text.rfind("####")
    if marker < 0 or text[marker - 1 : marker] not in ("", "\n"):
        return None
    start = marker + 4
    return (
        Statement(marker, start)
        if "\n" not in text[start:].strip() and "\n" not in text[start:].lstrip()
        else None
    )
