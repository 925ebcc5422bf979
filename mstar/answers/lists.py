"""Lists and sets as answers: how they are cut into items, and when two of them agree.

A list stands plain or in (), [] or {}. Semicolons separate where any are outside brackets, else commas; "and"
and "&" always do. Only a gold in braces is a set. Items are numbers where both sides are, else texts.
"""

from functools import lru_cache
from typing import NamedTuple

from mstar.answers.cleaning import clean, normalize_text
from mstar.answers.patterns import late
from mstar.answers.quantities import Quantity, parse_quantity, quantities_agree

MAX_ITEMS = 200
_OR_NAMED = late(r"(?<=[\d)}]) or(?= [A-Za-z]\s?=)")


class Item(NamedTuple):
    text: str
    quantity: Quantity | None


class Items(NamedTuple):
    items: tuple[Item, ...]
    is_set: bool


@lru_cache(maxsize=8192)
def read_items(statement: str) -> Items | None:
    """The items of a cleaned statement; None where there are none, too many, or an empty one."""
    statement = _OR_NAMED.sub(",", statement.replace("\\{", "{").replace("\\}", "}"))
    lead = _LEAD.match(statement)
    inner, bracket = _unwrapped(statement[lead.end() if lead else 0 :])
    parts = [clean(part) for part in _split(inner)]
    items = tuple(Item(normalize_text(part), parse_quantity(part)) for part in parts[: MAX_ITEMS + 1])
    is_list = len(items) <= MAX_ITEMS and all(item.text for item in items)
    return Items(items, bracket == "{") if is_list else None


def items_agree(gold: Items, statement: str, precision: int | None) -> bool:
    """Whether a cleaned statement lists the gold's items."""
    answer = read_items(statement)
    if answer is None:
        return False
    if gold.is_set:
        agreed = [[_item_agrees(g, a, precision) for a in answer.items] for g in gold.items]
        return all(map(any, agreed)) and all(map(any, zip(*agreed, strict=True)))
    return len(gold.items) == len(answer.items) and all(
        _item_agrees(g, a, precision) for g, a in zip(gold.items, answer.items, strict=True)
    )


def _item_agrees(gold: Item, answer: Item, precision: int | None) -> bool:
    if gold.quantity and answer.quantity:
        return quantities_agree(gold.quantity, answer.quantity, precision)
    return gold.text == answer.text


_LEAD = late(
    r"\([a-z](?:, ?[a-z])+\)\s*=\s*(?=\()|[A-Z](?=\()|[^\W\d]\w{0,20}\s*[=:]\s*(?=[\[({])"
    r"|(?:the )?(?:years?|values?|numbers?|points?|letters?|options?|roots|solutions?)\s+(?:are )?(?=[\d-])"
    r"|(?:the )?(?:ordered )?(?:point|pair|coordinates?|vector|interval|set|list)s?(?: is| are)?\s*(?=[\[({])"
)


def _unwrapped(statement: str) -> tuple[str, str]:
    """The statement without the brackets around all of it, and the opening one of them ("" for none)."""
    is_wrapped = statement[:1] in ("(", "[", "{") and _depth(statement) == 0
    is_wrapped = is_wrapped and all(_depth(statement[:end]) for end in range(1, len(statement)))
    return (statement[1:-1], statement[0]) if is_wrapped else (statement, "")


def _depth(text: str) -> int:
    """How many brackets are open at the end of a text."""
    return sum(map(text.count, "([{")) - sum(map(text.count, ")]}"))


_SEPARATOR = late(r"[;,、](?:\s*(?:and|&)(?!\w))?|(?<!\w)(?:and|&)(?!\w)")


def _split(inner: str) -> list[str]:
    cuts = [cut for cut in _SEPARATOR.finditer(inner) if not _depth(inner[: cut.start()])]
    if any(cut[0][0] == ";" for cut in cuts):
        cuts = [cut for cut in cuts if cut[0][0] not in ",、"]
    starts, ends = [0, *(cut.end() for cut in cuts)], [*(cut.start() for cut in cuts), len(inner)]
    return [inner[start:end] for start, end in zip(starts, ends, strict=True)]
