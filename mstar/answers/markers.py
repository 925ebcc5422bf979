r"""The markers of a final answer in a response, and where the statement behind the last of them lies.

A marker is a box, a tag, `####` on the last line, or one of the WORDS with those that make it a statement:
"the answer is", "option B is correct", 答案. Searches go backwards from the end, so that a long response
costs what its tail costs. Offsets hold for the response and for its lower-cased copy alike.
"""

import re
from typing import NamedTuple

from mstar.answers.cleaning import MAX_ANSWER_CHARACTERS
from mstar.answers.doubt import is_disowned
from mstar.answers.patterns import late

MAX_MENTIONS = 200
LEAD_CHARACTERS = 200
NOWHERE = -1


class Statement(NamedTuple):
    """Where the marker of a statement stands, and its text from `start` to `end` (None: the line's end)."""

    marker: int
    start: int
    end: int | None = None


_GAP = r"[ \t*_`\"']{0,8}"
_ADVERB = (
    r"(?:[, ]{1,2}(?:therefore|thus|then|hence|so|consequently|simply|clearly|just|also|still|definitely"
    r"|certainly|indeed|obviously|surely|actually|really|exactly|precisely|most likely),?)"
)
_VERB = (
    rf"{_ADVERB}?(?:(?:\b|(?<=[\w,*]) )(?:is|are|was|were|(?:would|should|must|will|has to)(?: \w+)? be"
    r"|(?:(?:turns|comes|works) out|appears|seems) to be|comes to|remains|stays|equals|becomes)\b)"
    rf"(?: equal to\b)?{_ADVERB}?(?=[\s:：*$\\(])"
)
_COLON = r"[ \t]*[:：]?(?:[*_`]{1,3}(?=\s))?[ \t]*"
_ABOUT = (
    r"(?: (?:to|for|of|in|from|on|about|among|based|according|given|that|which|here)"
    r" (?:[^\n:.：\"]|\"[^\"\n]{1,150}\"){1,80}?(?=[\s:：*,]))?(?:\([^)\n]{1,30}\))?"
)
_AFTER_ANSWER = late(
    rf"answers?(?: (?:choice|option|letter|value))?{_ABOUT}{_GAP}"
    rf"(?:(?P<mark>[:：]|[-=]>|→|=|[-–—](?=[ \t]))|{_VERB}){_COLON}"
)
_AFTER_OPTION = late(rf"(?<!_)(?:option|choice)(?: letter| number)?{_GAP}(?:[:：→]|{_VERB}){_COLON}")
_AFTER_OTHERS = late(
    rf"(?<![a-z])ans{_GAP}[-.:：=]{_GAP}(?=\S)"
    rf"|(?:réponse|antwort|lösung|respuesta)(?: \w+)?{_GAP}(?:[:：]|(?: \w+)? (?:est|ist|lautet|es)"
    rf"(?: donc| also| por tanto)?(?= )){_COLON}(?:(?:la|le|die|der|das) )?"
    r"|(?:jawaban(?: yang benar)?(?: adalah|[:：])|ответ *(?:[:：]|[-–—])|الإجابة(?: الصحيحة)?(?: هي|[:：])"
    r"|(?:答え|正解|정답)[はは은]?[:：]?)\s*"
    r"|(?:答案|答(?=[:：])|正确的?选项|[故应该此以题，,]选|[故应]填|選擇)[*_ \t】]*"
    r"(?:应该|应|选择|择|选项?|是|为)*[*_ \t]*[:：]?[*_ \t]*(?:选项?)?\s*"
)
_DESCRIBES = late(
    r"(?:\w{2,}(?:ed|nd|en|wn|ught) (?:by|from|using|on|in|as|with|through|above|below|to)"
    r"|correct\s*(?:$|[.,;!\n])|as follows"
    r"|(?:below|above|(?:very |most |quite |really )?(?:helpful|useful|clear|satisfactory))\b)"
)
_ABOUT_THE_ANSWER = late(
    r"\b(?:this|that|(?:hope|if|whether|why|how|what|where|since|because) (?:the|my|your|our)(?: final)?) \Z"
)
_QUOTED = late(
    r"(?:answer|(?<!_)(?:choice|option))[\"']\s*:\s*[\"']?(?P<payload>[^\"'\n}]{1,1000})", re.IGNORECASE
)
_HEADING = late(r"answer[*_ \t]*\n\s*")
_HEADING_LEAD = late(r"(?:^|\n)[#*_ \t]*(?:the )?(?:final |correct |my )?$")
_LETTER = r"[(\[（]?[A-Za-z][)\]）]?"
_IS_THE_ANSWER = late(
    rf"(?:^|[\s(*\"])(?P<payload>(?:option |choice )?{_LETTER}|[-+]?\d[\d.,/]*)[*\"]*,?"
    r" (?:is|must be|would be) (?:the |my )?(?:(?:correct|right|best|final) )*$"
)
_OPTION_IS = late(rf"(?:option|choice)[ *]+(?P<payload>{_LETTER})[ *]+is (?:the )?$", re.IGNORECASE)
_CHINESE_IS = late(rf"(?:选[项择]?)?\s*(?P<payload>{_LETTER})\s*(?:选项)?(?:[是为](?:正确的?)?)?$")
_CHOSEN = late(r"(?:correct|right|best|final|chosen|appropriate) $")
_LETTER_BEHIND = late(r"[\W_]{0,8}(?:\\[a-z]+\{)?[\W_]{0,4}(?:[A-Z](?![A-Za-z])|[a-z][).\]])")
_SENTENCE_ENDS = (". ", "! ", "? ", "\n")
WORDS = ("answer", "option", "choice", "correct", "ans", "antwort", "respuesta", "jawaban")
_CHINESE = "答案 答： 答: 選擇 故选 应选 该选 此选 以选 题选 ，选 ,选 故填 应填 正确"
_OTHERS = "réponse lösung 答え 正解 정답 ответ الإجابة"
_ALL_WORDS = (*WORDS, *f"{_CHINESE} {_OTHERS}".split())


def last_statement(text: str, lowered: str) -> Statement | None:
    """The statement of the last marker, of the words' MAX_MENTIONS last mentions."""
    last = max(filter(None, (_boxed(text), _tagged(text, lowered), _hashes(text))), default=None)
    least = last.marker if last else -1
    words = WORDS if text.isascii() else _ALL_WORDS
    mentions = [lowered.rfind(word, least + 1) for word in words]
    for _ in range(MAX_MENTIONS):
        position = max(mentions)
        if position < 0:
            break
        place = mentions.index(position)
        if found := _at(words[place], text, lowered, position):
            return found
        mentions[place] = lowered.rfind(words[place], least + 1, position)
    return last


def _at(word: str, text: str, lowered: str, position: int) -> Statement | None:
    before = lowered[max(position - LEAD_CHARACTERS, 0) : position]
    before = before[max(0, *map(before.rfind, _SENTENCE_ENDS)) :]
    if quoted := _QUOTED.match(text, position):
        return Statement(position, *quoted.span("payload"))
    match word:
        case "answer":
            return _answer_at(text, lowered, position, before)
        case "option" | "choice":
            after = _AFTER_OPTION.match(lowered, position)
            if after is None or _DESCRIBES.match(lowered, after.end()) or is_disowned(before):
                return None
            is_chosen = _CHOSEN.search(before) or _LETTER_BEHIND.match(text, after.end())
            return Statement(position, after.end()) if is_chosen else None
        case "correct":
            return _payload_before(_OPTION_IS, text, position)
        case "正确" | "答案" if found := _payload_before(_CHINESE_IS, text, position):
            return found
        case _:
            after = _AFTER_OTHERS.match(lowered, position)
            return Statement(position, after.end()) if after and not is_disowned(before) else None


def _answer_at(text: str, lowered: str, position: int, before: str) -> Statement | None:
    if _ABOUT_THE_ANSWER.search(before):
        return None
    after = _AFTER_ANSWER.match(lowered, position)
    if after and (after["mark"] or not _DESCRIBES.match(lowered, after.end())):
        return Statement(position, NOWHERE if is_disowned(before) else after.end())
    heading = _HEADING.match(lowered, position)
    if heading and _HEADING_LEAD.search(before):
        return Statement(position, heading.end())
    return _payload_before(_IS_THE_ANSWER, text, position)


def _payload_before(pattern: re.Pattern[str], text: str, position: int) -> Statement | None:
    """A statement that ends where its marker begins."""
    offset = max(position - 60, 0)
    match = pattern.search(text[offset:position])
    if match is None or is_disowned(text[offset : offset + match.start("payload")].lower()):
        return None
    return Statement(position, offset + match.start("payload"), offset + match.end("payload"))


def _tagged(text: str, lowered: str) -> Statement | None:
    tags = (("<answer>", "</answer>"), ("<|begin_of_box|>", "<|end_of_box|>"))
    marker, opening, closing = max((lowered.rfind(opening), opening, closing) for opening, closing in tags)
    end = lowered.find(closing, marker)
    return None if marker < 0 else Statement(marker, marker + len(opening), len(text) if end < 0 else end)


def _hashes(text: str) -> Statement | None:
    marker = text.rfind("\n####") + 1 or (0 if text.startswith("####") else -1)
    is_last_line = marker >= 0 and "\n" not in text[marker + 4 :].rstrip()
    return Statement(marker, marker + 4) if is_last_line else None


_BRACE = late(r"\\.|[{}]", re.DOTALL)
_JOINT = late(
    r"(?i)(?:[\s$.,;&/\\()\[\]{}]|(?<![A-Za-z])(?:or|and|text|quad)(?![A-Za-z])|[A-Za-z]\s?=){1,20}"
)
_BOX_SIGN = late(r"[-−\d]$|\d\.$")
_BOX_INSIDE = late(r"\\(?:[dt]?frac\s*(?:\{[^{}]*\})?|sqrt(?:\[[^\]]*\])?)\s*\{[ \t]*$")
_BOX_UNIT = late(
    r"(?:\\[,;:! )]|[\s$])*(?:\\pi\b|[\^!√π]|\\sqrt|(?:\\(?:text|mathrm)\{\s*)?[A-Za-z°%µ][A-Za-z/°]{0,12}"
    r"(?!\w))[\w^{}²³\\]{0,12}(?=\s*(?:$|[$.,;\n]|\\[)\]]))"
)


def _boxed(text: str) -> Statement | None:
    r"""The last box, with the boxes that are joined to it (`\boxed{2}, \boxed{3}` is one statement), and with
    the sign before and the unit, power or factor behind a boxed number.
    """
    marker = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    opening = text.find("{", marker, marker + 9) if marker >= 0 else -1
    end = _closing_brace(text, opening) if opening >= 0 else None
    if end is None:
        return Statement(marker, NOWHERE) if marker >= 0 else None
    first = marker
    while (earlier := text.rfind("\\boxed{", max(first - MAX_ANSWER_CHARACTERS, 0), first)) >= 0:
        earlier_end = _closing_brace(text, earlier + 6)
        if earlier_end is None or not _JOINT.fullmatch(text, earlier_end + 1, first):
            break
        first = earlier
        if marker - first > MAX_ANSWER_CHARACTERS:
            return Statement(marker, NOWHERE)
    if _BOX_INSIDE.search(text, max(first - LEAD_CHARACTERS, 0), first):
        return Statement(marker, NOWHERE)
    sign = _BOX_SIGN.search(text, max(first - 3, 0), first)
    unit = _BOX_UNIT.match(text, end + 1)
    if first == marker and not sign and not unit:
        return Statement(marker, opening + 1, end)
    return Statement(marker, sign.start() if sign else first, unit.end() if unit else end + 1)


def _closing_brace(text: str, opening: int) -> int | None:
    depth = 0
    for brace in _BRACE.finditer(text, opening):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return brace.start()
    return None
