"""The one check for doubt, correction and second thoughts, for every answer type.

An answer stands where its reading ends; what follows it, to the end of the response, must leave it standing:
`is_taken_back`. On the answer's own line another value, an alternative, a condition or a hedge takes it away
("5 or 6", "B, but C is also possible", "5 if x > 0"); on every line a correction does ("Wait, ...", "it
should be 6", "that is wrong"). What precedes the marker within its sentence must not disown the statement:
`is_disowned` ("the wrong answer is", "perhaps the answer is", "if not, the answer is").
"""

import re

from mstar.answers.patterns import late

MAX_CHARACTERS = 10_000
"""Of what follows an answer, from its beginning and from its end, that are looked at."""

_VALUE = r"(?:(?:option\ |choice\ )?(?:(?-i:[A-HJ-Z])\b|[(\[][A-Za-z][)\]])|[-+]?\$?\d[\w.,/%]*)"
_IT = r"""(?:it|that|this|which
      |(?:(?:the|my|correct|right|final)\ )*(?:answer|result|value|sum|total|count)(?:\ above)?)"""
_OPENS = r"(?:^|[.,;:!?()>\n—–…-])\s{0,9}[\"'*_(]{0,9}"
_CORRECTION = late(rf"""(?ix)
      {_OPENS}(?:wait|hmm+|oops|whoops|sorry|actually|correction|(?:scratch|scrap|strike)\ that
        |just\ kidding|never\ mind|then\ again|on\ second\ thought|(?:hold|hang)\ on|(?:my\ )?apologies
        |my\ (?:bad|mistake)|i\ mean|or\ rather|otherwise|if\ not|make\ (?:it|that)|let's\ re\w+
        |let\ (?:me|us)\ (?:re\w+|check|double|verify|correct|fix|think|try|look|see|count|start))\b
      |{_OPENS}(?:oh\ )?no(?:\ (?:it|that|wait)\b|\s*[,.!:;—–-]|\s*$)
      |{_OPENS}(?:edit|update|revised(?:\ answer)?)\s*:|\n\s{{0,9}}(?:but|or)\b
      |\b{_IT}(?:\ is|'s|\ was|\ seems|\ looks)\ (?:\w+\ )?(?:wrong|incorrect|not\ (?:right|correct|quite|it)
        |mistaken|invalid|impossible|an?\ (?:mistake|error))\b
      |\b(?:{_IT}|{_VALUE})\ (?:should|must|ought\ to|could|might|may)\ (?:\w+\ )?(?:be|equal|have\ been)\b
      |\b(?:also|equally|just\ as)\ (?:be\ )?(?:a\ )?(?:possible|valid|correct|right|acceptable|plausible|true
        |fine|good|ok(?:ay)?|fits?|works?|an?\ \w+)\b
      |\bi\ (?:was\ (?:wrong|mistaken)|mis\w+|take\ (?:it|that)\ back|changed?|overlooked|forgot
        |made\ an?\ \w+|meant|doubt)|\bi(?:\ am|'m)\ (?:not\ (?:\w+\ )?(?:sure|certain)|unsure)
      |\b(?:can't|cannot)\ be\ sure|\b(?:looking\ (?:again|closer)|on\ closer)
      |\b(?:there|here)(?:\ is|'s|\ was)\ an?\ (?:mistake|error)
      |\b(?:contradict|re-?check|reconsider|recalculat|recount|re-?evaluat|re-?examin)
      |\b(?:correct|right|real|actual|true)\ (?:option|choice|value|result|one)\ (?:is|was|would|should)\b
      |\bmakes?\ (?:it|that)\ {_VALUE}|{_OPENS}(?:then|next),?\ (?:we|you|i|add|subtract|multiply|divide)\b
      |\binstead\b(?!\ of)|(?-i:\b(?:\d+|[A-Z])\ it\ is\b)|不对|错了|应该是|应为|更正|等等|等一下|或""")
_GUESS = "maybe|perhaps|possibly"
_TURNS = (
    rf"(?:or|but|however|(?:al)?though\b(?=[^.;\n]*(?:{_VALUE}|\b(?:yes|no)\b|\b(?:not|might|may|could|wrong)\b))|{_GUESS}|probably"
    "|alternatively|either|unless|otherwise|if)"
)
_OR = rf"\bor\ (?:{_GUESS}|yes|no|true|false|{_VALUE})"
_HEDGE = late(rf"""(?ix)
      ^\W*(?:{_TURNS}|when|except|yet|depending|assuming|provided|versus|vs|and\ (?:also|{_GUESS}))\b
      |^\W*(?:is|was|are)(?:n't)?\ (?:not|also|either|wrong|in\w+|false)\b|^\W*(?:isn't|wasn't|aren't)\b
      |^\W*(?:wrong|incorrect|false|invalid|impossible|excluded|eliminated|ruled\ out|does(?:n't|\ not))\b
      |^[\s:.)-]*[✗✘❌×?]|[,;]\ (?:which\ )?(?:we|you|the\ (?:question|problem))\ (?:needs?|wants?|asks?)\b
      |[,;:(—–-]\s*["'*]*{_TURNS}\b
      |\b(?:if|otherwise|unless|depending\ on|alternatively|unsure|(?:low|upp)er\ bound)\b
      |\b(?:(?:could|might|may)\ (?:\w+\ )?be|not\ (?:\w+\ )?(?:sure|certain)|or\ (?:it|so))\b|{_OR}""")
_LATER_HEDGE = late(rf"^\W*{_TURNS}\b|{_OR}", re.IGNORECASE)
_ALSO = r"^[\W_]*(?:(?:and|or|also|then|so|thus|therefore|hence|likewise|final)\b[\W_]*)*"
_ANOTHER = late(rf"""(?ix)
      {_ALSO}(?:yes|no|true|false|{_VALUE})[\W_]*$|{_ALSO}(?:yes|no|true|false)\s*[.,;!)]
      |^[\W_]*(?:and|or|&|/)\s+{_VALUE}(?![\w'])|^\s*[,/;&]\s*{_VALUE}\s*(?:$|[,.;/])
      |^\s*,\s*(?:[(\[][A-Z][)\]]|(?-i:[A-HJ-Z])\ (?:and|or)\b)""")
_DIGIT = late(r"\d")
_CLOSING = " \t\r\n.,;:!?)}$*\"'`"
_SENTENCE_END = late(r"(?<=[.!?。])\s+|(?<=[a-z][.!?])(?=[A-Z])")
HARMLESS = late(rf"""(?ix)
      </?\w+>|\\(?:text|quad)\b|<\|\w*\|>|\bif\ (?:you|there\ (?:is|are)\ any)\b[^.!?\n]*|\bhope[^.!?\n]*
      |\bor\ (?:equivalently|in\ other\ words)\b|\b\d+%\ confident|\bnot\ obvious
      |\ba\ common\ (?:mistake|error)|\b(?:wrong|incorrect|false):\s*{_VALUE}(?:(?:,\ |\ and\ ){_VALUE})*
      |\bno\ (?:other|more|need)\b|\b(?:have\ an?\ \w+\ day|happy\ to\ help|good\ luck|cheers|done)\b[.!]*
      |而?不[是选]\s*{_VALUE}
      |\b(?:not|rather\ than|instead\ of|nor|and\ not|unlike|over)\ (?:(?:the|a|an|option|choice)\ )?
        (?:{_VALUE}(?:(?:,\ |\ (?:or|and|nor)\ ){_VALUE})*
          |(?!sure|certain|right|correct|true|it\b)[a-z]+(?=\W*$))(?:\s*\([^()]*\))?""")


def is_taken_back(rest: str, said: str = "") -> bool:
    """Whether what follows an answer, from its own line to the end of the response, takes it away.

    `said` is the answer: that it is said again does no harm.
    """
    if not rest.strip(_CLOSING):
        return False
    if len(rest) > 2 * MAX_CHARACTERS:
        rest = f"{rest[:MAX_CHARACTERS]}\n{rest[-MAX_CHARACTERS:]}"
    said = said.rstrip(" .")
    rest = HARMLESS.sub(" ", rest)
    if said and said in rest and said.casefold() != "no":
        again = rf"[(\[]?(?<![\w.,-]){re.escape(said)}(?!\w|[.,]\d)[)\]]?"
        if re.search(
            rf"(?i)(?:^|[.!\n])\W{{0,5}}(?:(?:yes|so|indeed)\W{{1,5}})?{again} is (?:right|correct)\W*$", rest
        ):
            return False
        rest = re.sub(again, " ", rest)
    line, _, later_lines = rest.partition("\n")
    next_line = later_lines.strip().partition("\n")[0]
    is_alike = (_DIGIT.search(said) is None) == (_DIGIT.search(next_line) is None)
    if said and is_alike and _ANOTHER.search(next_line):
        return True
    first, *later = _SENTENCE_END.split(line) if line.strip(_CLOSING) else [""]
    is_hedged = _HEDGE.search(first) or any(map(_LATER_HEDGE.search, later))
    return bool(is_hedged or any(map(_ANOTHER.search, (first, *later))) or _CORRECTION.search(rest))


_DISOWNED = late(
    rf"\b(?:wrong|incorrect|or|nor|no|neither|{_GUESS}|not|isn't|unlikely|whether|thought|assumed|guessed"
    r"|expected|reference|gold|claim(?:s|ed)?|says|doubt|previous|earlier|first|initial|original) "
    r"(?:maybe |that )?(?:(?:the|my|an?|its) )?(?:final |correct )?\Z"
    rf"|(?:^|[.!?;\n]\s*)(?:if|unless|suppose|assuming|otherwise|in case|when|{_GUESS})\b"
    r"(?! (?:we|you|i|one) )[^.!?\n]*\Z"
    r"|\b(?:not|n't|is it|may) (?:(?:\w+ )?that|think|believe|say) (?:the )?\Z"
)


def is_disowned(lead: str) -> bool:
    """Whether what precedes a marker within its sentence, lower-cased, says that this is not the answer."""
    return _DISOWNED.search(lead) is not None
