r"""The answer of a response in which no marker states one (`markers`); None where there is none either.

- **Bare**: nothing but an answer on one line ("14", "(B)", "yes", "x = 14"), or before an explanation.
- **Concluded**: the last sentence draws a conclusion ("So the sum is 14.", "∴ x = 5", "I would choose B"), or
  it is the only one, sets something in bold, or says what its subject is
  ("The median is 6.") where no other concludes before it. What it says of its subject must be one answer of
  the type, to its end: behind "is" or an equals sign (the last of a chain), else the only number in it, else
  the only choice whose content it holds. What leads up to that must neither doubt nor compare it, nor give
  another value, nor be an equation still to be solved ("so 2x = 14").
"""

import re
from collections.abc import Iterator
from itertools import pairwise

from mstar.answers.choices import named_choice, read_contents
from mstar.answers.cleaning import (
    CONTRAST,
    MAX_ANSWER_CHARACTERS,
    SENTENCE_END,
    clauses,
    clean,
    normalize_text,
)
from mstar.answers.comparison import reads_as
from mstar.answers.doubt import HARMLESS, UNSURE, is_taken_back
from mstar.answers.expected import AnswerType
from mstar.answers.numerals import NUMBER_WORDS
from mstar.answers.patterns import late
from mstar.answers.quantities import UNSOLVED

MAX_BARE_CHARACTERS = 100
LINE_CHARACTERS = 1000
MAX_CONTENT_WORDS = 3
END_MARKS = late(r"</(?!(?:b|i|u|em|strong|span|p|sup|sub)>)|<\|")

_FENCE = late(r"^```\w*\s*|\s*```$")
_BULLET = r"(?:^|\n)\s*(?:[-*•]|\d+[.)])\s+"
_BULLETS = late(rf"(?:{_BULLET}[^\n]{{1,60}}){{1,20}}")
_EXPLANATION = late(r"\n\s*\**(?:explanation|reason(?:ing)?|rationale|because)\b.*", re.I | re.S)
_DISPLAY = late(r"\s*(\$\$.{1,300}?\$\$|\\\[.{1,300}?\\\])|(?<=:)\s+", re.DOTALL)
_ENDS = late(rf"(?<!\b[A-Z])(?:{SENTENCE_END.pattern})|[。！？]|\n")
_COURTESY = late(
    r"(?i)\W*(?:(?:i |we )?hope|let me know|is there anything|feel free|if you|would you like|do you|thank"
    r"|this completes)\b|\W*check:|\((?:[A-Z] )?[A-Za-z]{2}[^()]*\)\W*$"
)
_CONCLUDES = late(r"""(?ix)
    (?:^|[,;:—–，；：]\s*|\.\s)[\W_]*(?:(?:
      (?:and\ )?(?:therefore|thus|hence|consequently|finally|accordingly|overall|altogether|as\ a\ result|donc
        |in\ (?:total|all|conclusion|summary)|to\ conclude|it\ follows\ that|this\ means(?:\ that)?
        |so(?!\ (?:that|far|many|much|long|as|on|called|is|are)\b)
        |(?:(?:we|i)\ (?:can\ )?)?(?:get|find|obtain|conclude)(?:\ that)?
        |(?:i(?:'d|\ would|'ll|\ will)?\ )?(?:go\ with|choose|select|pick)
      |(?:final|result|total|letter|value)(?=\W*:)|which\ (?:simplifies|reduces|rounds|comes)\ to
      |for\ a\ total\ of|the\ (?:actual|correct|final|right)(?=\ ))\b
      |(?:since|because|given\ that)\ [^,;]{1,80},
      |i\.e\.|∴|\\therefore|因此|所以|(?:我|应)?选择?|综上(?:所述)?|故|可得|于是)[,，:：\s]*)+""")
_ROW = late(r"^\|([^|]+)\|([^|]+)\|$")
_LETTER = r"[*(\[]*([A-Za-z])[*)\]]*"
_LAST_LETTER = rf"{_LETTER}[^\w✗✘❌×?]*$"
_OPTION = late(rf"""(?ix)
    (?:^|corresponds\ to|matches|i\.e\.,?|namely|is|given\ by|choose|select|pick|with|[,→]|(?=\())\ ?
      \(?(?:the\ )?(?:option|choice|answer)\ {_LAST_LETTER}
    |→\ (?:选\ ?|(?=\()){_LAST_LETTER}|^(?=\(){_LAST_LETTER}
    |\b(?:option|choice)\ {_LETTER}\ is\ (?:(?:therefore|thus|hence|clearly)\ )?the\ (?:right|correct|best)\b
    |\bonly\ (?:(?:option|choice|statement|answer)\ )?{_LETTER}\ (?:satisfies|agrees|fits|works|matches|holds
      |meets|remains|is\ (?:correct|true|right|possible|valid|consistent))\b""")
_COPULA = (
    r"(?:\b(?:is|are|was|were|be|equals?|costs?|leaves|yields|we\ have)|(?<=\w)'s)\b"
    r"(?:\ (?:equal\ to|at|only)\b)?|[=≈:]|等于|叫做|[是为]"
)
_LEAD = late(f"(?ix)^|{_COPULA}")
_NUMBER = late(rf"""(?ix)
    (?<![A-Za-z\d_.,^/第每])(?:[-+]?\(?[$€£¥₹]?[-+]?(?:\d|\\[dt]?frac|\\sqrt|√)\S*(?:\ \d+/\d+)?
      |\b(?:(?:{"|".join(sorted(NUMBER_WORDS))})\b[-\ ]?)+)(?:\ ?[-+*/×·÷^]\ ?\S+)*""")
_NO_VALUE = late(r"""(?x)
    \b(?:no|than|like|close\ to|(?<!add\ )(?<!adds\ )up\ to|below|above|under|over|before|after|until
      |within|step|row|column|side|line|page|stem|label\w*|figure|number|problem|question|[A-Z][a-z]*)[\W_]*$
    |\b(?:divi|multipl|subtract|round|lack)\w*\b|\badds?\b(?!\ up)|\b(?:[Ll]et|write)\b""")
"""What makes the only number behind it a name or an operand: Pair 2, "divide by 3"."""
_NOT_LEFT = late(r"""(?x)
    \d\S*[,;]|[<>≠≤≥±]|\\(?:[nlg]eq?|[lg]t)\b|\d\D*\ in$|=.*(?:[,;]|\band\b)|:\ \W*\d.*:\s*$
    |\b[Ss]o\ (?:far|much)\b
    |(?:\b(?:is|are|was|were|ha[sd]|have)|[^su\W]s|ed)\ \W*\d[^=≈]*$
    |\b(?:is|are|was|were)\b.*\b(?:and|while|whereas)\b
    |\b(?:[Ii]ncorrect|[Ww]rong|half|twice|double|[Oo]ption|than|near|which|what|who|how|unable|thought|said
      |believed|claim(?:s|ed)|expected|[Ss]uppose|[Aa]ssum\w+|says\ that|unlikely|false|nobody|almost
      |miss(?:es)?)\b""")
_ASIDE = late(r"""(?x)\ (?:
      (?:on|in|for|from|at|of|up|this)(?:\ (?:the|a|an|each|this|that|his|her|their))?
        (?!\ \w+[sz]ands?\b|\ \w+illions?\b|\ hundreds)(?:\ (?!and\b|or\b)[a-z]+){1,4}
      |in\ (?:the\ year\ )?\d{4}|in\ \d+\ (?:hour|day|week|year)s)$
    |(?<=[a-z])\ (?:are|were|was|ha(?:ve|s)\ been)\ [a-z]+(?:ed|en|ld|ft|wn)$
    |,?\ as\ (?:required|desired|needed|shown)$""")
"""Behind a number: where, when, what happened ("12 apples in the box", "12 apples were sold")."""
_STATES = late(
    r"(?:The(?! (?:first|second|third|next|other|last)\b)|That|This|These|Its?|His|Her|Their)\b[^:]*"
    r" (?:is|are|was|were|leaves) .*[.。]\W*$"
)
"""A last sentence that concludes without such a word, unless another one does before it."""
_EARLIER = late(r"(?i)\b(?:therefore|thus|hence|so)\b|[∴故]|所以|因此")
_SUBJECT = late(r"[^\W\d]{2}\S*(?: |:$|'s$)|[一-鿿]|^[A-Za-z] ?=")
_NAMES = late(
    r"(?:^|\b(?:is|are|be|becomes?|called|named|remains?|stays?|will|must|ha(?:s|ve)|it|they|this|that)"
    r"(?: also| always| simply| just| clearly)? )$"
)
_VERB = late("(?:does|do|is|are|has|have|will) ")
_AT_FIRST = late(r"\b(?:first|initially|once|like|before|after|less|more|then|without)\b")
_OF_A_LETTER = late(r"(?i)(?:(?:it|this)(?: is|'s| must be)|)\s*")
_OF_A_TRUTH = late(
    r"(?i)(?:|(?:it|this)(?: is|'s| must be)|.*\b(?:statement|claim|assertion|conclusion)\b.* is|.*:)\s*"
)


def unmarked(text: str, answer_type: AnswerType, choices: tuple[str, ...]) -> str | None:
    """The bare or concluded answer."""
    return _bare(text, answer_type, choices) or _concluded(text, answer_type, choices)


def _bare(text: str, answer_type: AnswerType, choices: tuple[str, ...]) -> str | None:
    if len(text) <= 2 * MAX_BARE_CHARACTERS:
        text = _FENCE.sub("", END_MARKS.split(text, maxsplit=1)[0].strip())
        if answer_type == "list" and _BULLETS.fullmatch(text):
            text = ", ".join(re.split(_BULLET, text)[1:])
    text = _EXPLANATION.split(text[: 2 * MAX_BARE_CHARACTERS], maxsplit=1)[0] or text
    concludes = _CONCLUDES.search if answer_type == "text" else _CONCLUDES.match
    if not text or len(text) > MAX_BARE_CHARACTERS or "\n" in text or concludes(text):
        return None
    return text if reads_as(answer_type, text, choices) else None


def _concluded(text: str, answer_type: AnswerType, choices: tuple[str, ...]) -> str | None:
    """What the last sentence says of its subject, if it concludes and that is one answer of the type."""
    sentence, stands_out = _last_sentence(text)
    if answer_type == "choice" and (option := _OPTION.search(clean(sentence))):
        letter = next(filter(None, option.groups()))
        return _option(clean(sentence)[: option.start()], letter, choices)
    words = [*_CONCLUDES.finditer(sentence)]
    if not (words or stands_out) or sentence.endswith("?") or sentence.count(r"\(") > sentence.count(r"\)"):
        return None
    said = CONTRAST.sub("", clean(sentence[words[-1].end() if words else 0 :]))
    for before, stated in _readings(said, answer_type):
        has_subject = words or "**" in sentence or _SUBJECT.search(before)
        if has_subject and _is_all(stated, before, answer_type, choices):
            return stated
    return _content(said, choices) if words and answer_type == "choice" else None


def _last_sentence(text: str) -> tuple[str, bool]:
    """The last sentence but for courtesies, and whether it is a conclusion by its place or emphasis."""
    tail = END_MARKS.split(text[-LINE_CHARACTERS:].strip(), maxsplit=1)[0]
    tail = _DISPLAY.sub(lambda display: " " + " ".join((display[1] or "").split()), tail)
    ends = [0, *(end.end() for end in _ENDS.finditer(tail)), len(tail)]
    sentences = [tail[start:end].strip() for start, end in pairwise(ends)]
    said = [one for one in sentences if re.search(r"\w", one) and not _COURTESY.match(one)]
    last = said[-1] if said else ""
    if not last or len(last) > MAX_ANSWER_CHARACTERS // 2 or is_taken_back(tail.rpartition(last)[2]):
        return "", False
    is_only = len(said) == 1 and len(text) <= LINE_CHARACTERS
    states = _STATES.match(last) and not any(map(_EARLIER.search, said[:-1]))
    return _ROW.sub(r"\1: \2", last), bool(is_only or states or "**" in last)


def _readings(said: str, answer_type: AnswerType) -> Iterator[tuple[str, str]]:
    """The places at which what is said of a subject may begin: what is before, and what is behind."""
    leads = [*_LEAD.finditer(said)]
    for lead in leads if answer_type != "text" else leads[:0:-1]:
        before, stated = said[: lead.end()], said[lead.end() :].strip()
        is_side = answer_type == "expression" and stated.count("=") > (lead[0] != "=")
        if is_side or (answer_type == "text" and lead[0] in "=≈:"):
            continue
        yield before, _ASIDE.sub("", stated) if answer_type == "number" else stated
    if answer_type in ("number", "choice"):
        *_, (shortest, _) = clauses(said)
        numbers = [*_NUMBER.finditer(_ASIDE.sub("", shortest))] or [*_NUMBER.finditer(shortest)]
        before = said[: numbers[0].start()] if len(numbers) == 1 else ""
        if re.search(r"\S \S|[一-鿿]", before) and not _NO_VALUE.search(before):
            yield before, _ASIDE.sub("", said[len(before) :])


def _option(before: str, letter: str, choices: tuple[str, ...]) -> str | None:
    """The letter, unless what is said before it is doubtful or another choice's content."""
    named = [named_choice(stated, choices) for _, stated in _readings(before.rstrip(", "), "choice")]
    agree = all(one in (None, named_choice(letter, choices)) for one in named)
    return letter if agree and not UNSURE.search(before) else None


def _content(said: str, choices: tuple[str, ...]) -> str | None:
    """The content of the one choice that a conclusion names, if it does so of a subject and as it is."""
    texts = {one.text for one in read_contents(choices) if len(one.text) > 1 and not one.number}
    words = normalize_text(said.replace("n't", " not"))
    pattern = "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))
    hits = [*re.finditer(rf"(?<!\w)(?:{pattern})(?!\w)", words)] if len(texts) == len(choices) else []
    if len({hit[0] for hit in hits}) != 1:
        return None
    before, rest = words[: hits[0].start()], words[hits[-1].end() :]
    is_clause = len(hits[0][0].split()) > MAX_CONTENT_WORDS or _VERB.match(hits[0][0])
    names = _NAMES.search(before) if before and not is_clause else is_clause
    is_other = any(pattern.search(before) for pattern in (UNSURE, _NOT_LEFT)) or UNSURE.search(rest)
    is_all = len(rest.split()) <= 2 * MAX_CONTENT_WORDS and not _AT_FIRST.search(rest)
    return hits[0][0] if names and not is_other and is_all else None


def _is_all(stated: str, before: str, answer_type: AnswerType, choices: tuple[str, ...]) -> bool:
    """Whether what is said behind a lead is an answer and no other value, and the lead is as it must be."""
    if any(pattern.search(before) for pattern in (UNSURE, _NOT_LEFT, UNSOLVED)) or (
        "$" in before and "$" not in stated
    ):
        return False
    is_apt = {
        "choice": len(stated) > 1 or _OF_A_LETTER.fullmatch(before),
        "boolean": _OF_A_TRUTH.fullmatch(before),
        "list": re.search(r"[,;、&]|\band\b", stated),
        "text": len(stated) <= MAX_BARE_CHARACTERS,
    }
    return bool(is_apt.get(answer_type, True)) and any(
        reads_as(answer_type, reading, choices)
        and not is_taken_back(rest, reading)
        and not re.match(r"[^(]*\d|,? while", HARMLESS.sub(" ", rest).replace(reading, ""))
        for reading, rest in clauses(stated)
    )
