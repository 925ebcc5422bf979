r"""The answer of a response in which no marker states one (`markers`); None where there is none either.

- **Bare**: nothing but an answer on one line ("14", "(B)", "yes", "x = 14"), or before an explanation.
- **Concluded**: the last sentence, if it draws a conclusion ("So the sum is 14.", "∴ x = 5"), sets something
  in bold, or says what its subject is ("The median is 6.") where no sentence before it concludes. An answer
  must be all that it says, or all that it says behind a lead: "is", "has", the last equals sign. What leads
  up to the answer may hold neither doubt nor another value, nor be an equation still to be solved.
"""

import re

from mstar.answers.cleaning import CONTRAST, MAX_ANSWER_CHARACTERS, SENTENCE_END, clean
from mstar.answers.comparison import reads_as, stated_answer
from mstar.answers.expected import AnswerType
from mstar.answers.leads import behind_leads
from mstar.answers.patterns import late

MAX_BARE_CHARACTERS = 100
END_MARKS = late(r"</(?!(?:b|i|u|em|strong|span|p|sup|sub)>)|<\|")

_FENCE = late(r"^```\w*\s*|\s*```$")
_BULLET = r"(?:^|\n)\s*(?:[-*•]|\d+[.)])\s+"
_BULLETS = late(rf"(?:{_BULLET}[^\n]{{1,60}}){{1,20}}")
_EXPLANATION = late(r"\n\s*\**(?:explanation|reason(?:ing)?|rationale|because)\b.*", re.I | re.S)
_DISPLAY = late(r"\s*(\$\$.{1,300}?\$\$|\\\[.{1,300}?\\\])|(?<=:)\s+", re.DOTALL)
_ENDS = late(rf"(?<!\b[A-Z])(?:{SENTENCE_END.pattern})|[。！？]|\n")
_COURTESY = late(r"(?i)\W*(?:(?:i |we )?hope|let me know|feel free|is there anything|thank|this completes)\b")
_CONCLUDES = late(r"""(?ix)
    (?:^|[,;:.—])[\W_]*(?:(?:
      therefore|thus|hence|consequently|finally|overall|in\ (?:total|all|conclusion)
      |so(?!\ (?:that|far|many|much|long|as|on)\b)|(?:i\ (?:would\ )?)?(?:choose|select|pick)
      |(?:result|total|final)(?=\W*:)|i\.e|\\therefore)\b[.,:\s]*|(?:because|since)\b[^,;]{1,80},\s*
      |[∴故]\s*|(?:因此|所以|选择?|综上)[,，:：\s]*)+""")
_SUBJECT = late(
    r"(?:The(?! (?:first|second|third|next|other|last)\b)|That|This|It)\b[^:]* (?:is|are|was|were) "
)
_EARLIER = late(r"(?i)\b(?:therefore|thus|hence|so)\b|[∴故]|所以|因此")


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
    return text if reads_as(answer_type, clean(text), choices) else None


def _concluded(text: str, answer_type: AnswerType, choices: tuple[str, ...]) -> str | None:
    """What the last sentence says, if it concludes and that is one answer of the type."""
    *earlier, last = _sentences(text[-MAX_ANSWER_CHARACTERS:])
    words = [*_CONCLUDES.finditer(last)]
    is_only = len(earlier) == 1 and len(text) <= MAX_ANSWER_CHARACTERS
    says = re.match(r"\W*[^\W\d]", last) if is_only else _SUBJECT.match(last)
    if last.endswith("?") or not (words or "**" in last or (says and not any(map(_EARLIER.search, earlier)))):
        return None
    said = CONTRAST.sub("", clean(last[words[-1].end() if words else 0 :]))
    stated = [*behind_leads(said)]
    for one in stated if answer_type != "text" else stated[:0:-1]:
        is_letter = len(one) == 1 and answer_type == "choice"
        if not (is_letter and one != said) and stated_answer(answer_type, one, choices):
            return one
    return None


def _sentences(text: str) -> list[str]:
    """All but courtesies, behind an empty one."""
    text = END_MARKS.split(text.strip(), maxsplit=1)[0]
    text = _DISPLAY.sub(lambda display: " " + " ".join((display[1] or "").split()), text)
    sentences = map(str.strip, _ENDS.sub(lambda end: end[0] + "\0", text).split("\0"))
    return ["", *(one for one in sentences if re.search(r"\w", one) and not _COURTESY.match(one))]
