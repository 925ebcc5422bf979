"""What leads up to an answer within its sentence: "The area is" 12, "x =" 5, 面积是 20.

A lead ends in one of a few verbs ("is", "has", "costs"), a colon, an arrow or the last equals sign. It counts
where it holds no doubt, no comparison and no other value, and is no equation that is still to be solved.
"""

from collections.abc import Iterator

from mstar.answers.patterns import late

MAX_CHARACTERS = 300

_LEAD = late(r"""(?ix)
    (?<!^)\b(?:is|are|was|were|be|ha[sd]|have|needs?|costs?|measures?|contains|takes|gets|left|makes|shows|says
      |reads|equals?|gives|yields|will|adds?\ up\ to)\b(?:\ (?:called|named|equal\ to|therefore|thus)\b)?
    |(?<=\w)'s\b|=(?!.*=)|(?<![\d)}].)≈|[:→]\s|(?:^|\ )year(?=\ \d{4}$)|[是为有了]|等于""")
_UNSURE = late(r"""(?ix)
    \b(?:not|or|n?either|maybe|perhaps|possibly|probably|never|cannot|could|might|may|can\ be|says\ that|think
      |un(?:known|sure|likely|able)|at\ (?:least|most)|nobody|if|whether|unless|but|versus|vs|option|so\ far
      |than|half|twice|double|what|which|who\ is|how|wrong|incorrect|false|thought|step|hint|let|suppose
      |assum\w+)\b
    |n't\b|[不非没或若]|可能|如果|[大小多少]于|超过|至[多少]|\d\S*[,;]|[<>≠≤≥±]|!=|:\ \W*\d.*:|^\W*\d.*\band\b
    |\b(?:is|are|was|were|ha[sd]|have)\b(?:.*\band\b|\ \W*\d.*\ (?:is|are|was|were)$)""")
"""What makes no statement of a sentence that leads up to a value ("the area might be")."""
UNSOLVED = late(r"""(?x)^[^=]*(?:
    \d(?:[a-z]|\s[a-fijkn-rt-z])(?![a-z])|(?<![A-Za-z/])[a-z]\s?[-+*/×·÷^]\s?\{?\d
    |\d\s?[-+*/×·÷]\s?[a-z](?![a-z])|\d\s?(?:[α-οθ-ω]|\\(?:theta|alpha|beta|gamma|phi|omega))
    |(?<![A-Za-z])[A-Za-z]{1,2}\s?\^(?!\{?-1\}?\()|[a-z]\)\s?\^|\|[^|=A-Z]*\||\\frac\{?-?\d*[a-z](?![a-z])
    |(?:√|sqrt|log|ln)[^=a-z]*[a-z](?![a-z])|(?:^|(?<=\s))-\s?[a-z](?![a-z]))[^=]*=""")
"""An equation whose left side is no name but a term in an unknown: 2x = 14, x - 3 = 14, x^2 = 14."""


def behind_leads(statement: str) -> Iterator[str]:
    """A cleaned statement, and what stands behind each of its leads."""
    yield statement
    for lead in _LEAD.finditer(statement, 0, MAX_CHARACTERS):
        before, stated = statement[: lead.end()], statement[lead.end() :].strip()
        if _UNSURE.search(before) or ("=" in before and UNSOLVED.match(before)):
            return
        if stated and ("$" not in before or "$" in stated):
            yield stated
