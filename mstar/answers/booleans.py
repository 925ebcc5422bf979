"""Yes or no as an answer.

True: yes, yeah, true, correct, right, y, t (and 是, 对, 正确). False: no, nope, false, incorrect, wrong, n, f
(and 否, 不是, 错, 错误). "not" in front turns it round. An explanation may follow ("Yes, because ...", "No,
it is not"); the sentence "the statement is true" is read too. Digits and "maybe" are no answer.
"""

import re

from mstar.answers.doubt import is_taken_back
from mstar.answers.patterns import late

_BOOLEAN = late(
    r"(?i)(?:definitely |certainly |absolutely |clearly |obviously |of course,? )?"
    r"(?:(?:it|this|that|the \w+(?: \w+)?)(?: is|'s) |it's )?(?P<negated>not )?"
    r"(?P<word>yes|yeah|sí|oui|true|correct|right|no|nope|false|incorrect|wrong|[ytnf](?!\w)"
    r"|(?<=ly )not|(?<=course )not)(?:$|[\s.,;:!?()—-])"
)
_TRUE = ("yes", "yeah", "sí", "oui", "true", "correct", "right", "y", "t", "是", "是的", "对", "正确")
_CHINESE = (*_TRUE[-4:], "否", "不", "不是", "不对", "不正确", "错", "错误")
_CLAUSE_STARTS = late(
    r"(?i)\s*(?:$|[.,;:!?()—-]|(?:it|they|he|she|we|you|i|the|there|this|that|because|since|as|these|those|both|in|for|due|"
    r"based|according|none|not)\b)"
)
_RESTATES = late(
    r"(?i)[\s,.—-]*(?:it|that|this|the \w+)(?: is|'s) (?:not (?:true|correct|right)|incorrect|wrong|false)"
)

_BOTH = late(r"[,;.] (?:and |but )?(?:yes|no)\b(?! (?:doubt|more|other|need|one))", re.IGNORECASE)
_AGAIN = late(r"[,;.] (true|false|correct|incorrect|right|wrong)\W*$", re.IGNORECASE)


def read_boolean(statement: str) -> bool | None:
    """True for yes, False for no, None for anything else; the statement is cleaned."""
    if statement[:1] + statement[-1:] in ("()", "[]"):
        statement = statement[1:-1].strip()
    chinese, _, rest = re.sub(r"[,.;:!\s]", "\0", statement, count=1).partition("\0")
    if chinese in _CHINESE:
        return None if is_taken_back(rest) else chinese in _TRUE
    match = _BOOLEAN.match(statement)
    if match is None:
        return None
    rest = statement[match.end("word") :]
    if not _CLAUSE_STARTS.match(rest) or re.match(r"[/-]\w", rest) or _BOTH.search(rest):
        return None
    value = (match["word"].lower() in _TRUE) != bool(match["negated"])
    again, restated = _AGAIN.match(rest), _RESTATES.match(rest)
    if again and (again[1].lower() in _TRUE) != value:
        return None
    is_wrong = (restated and value) or is_taken_back(rest[restated.end() :] if restated else rest)
    return None if is_wrong else value
