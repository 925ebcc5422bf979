r"""One spelling of a formula, so that equal ones are equal texts: `\frac{\sqrt{5}}{5}`, √5/5, sqrt(5)/5."""

import re
from functools import lru_cache

from mstar.answers.patterns import late

SYMBOLS = {
    "π": r"\pi", "×": r"\times", "·": r"\cdot", "÷": r"\div", "≤": r"\le", "≥": r"\ge",
    "≠": r"\ne", "∈": r"\in", "∞": r"\infty", "∪": r"\cup", "∩": r"\cap", "θ": r"\theta",
    "α": r"\alpha", "β": r"\beta", "±": r"\pm",
}  # fmt: skip
_SYMBOL_OF = {command: symbol for symbol, command in SYMBOLS.items()}
_SYMBOL_OF |= {r"\leq": "≤", r"\geq": "≥", r"\neq": "≠"}
_PI = late(r"(?<![A-Za-z\\])pi(?![A-Za-z])")
_COMMAND = late(r"(\\[A-Za-z]+) ?")
_ATOM = late(r"√?[\d.]+|√?[^\W\d_]|\([^()]*\)")
_FRACTION = late(r"\\frac\s*(?:\{([^{}]*)\}|(\w))\s*(?:\{([^{}]*)\}|(\w))")
_ROOT = late(r"(?:\\sqrt|√|(?<![A-Za-z])sqrt)\s*(?:\{([^{}]*)\}|\(([^()]*)\)|(?<=\\sqrt) ?(\d))")
_SCRIPT = late(r"([_^])\s*\{([^{}]*)\}")
_NO_SIGN = late(r"(?<=[A-Za-z)])_(?=\d)|(?<=[\w)])\s*[·×*]\s*(?=[A-Zπ√(a-wyz])")
_ION = late(r"(?<=[A-Za-z\d)])\^\(?(\d?[+-])\)?(?![\w(])")
_FORMULA = late(r"[^A-Za-z\d\s.,;:()%/+=-]|pi|sqrt")
"""Without one of these there is nothing but spaces to spell otherwise."""
_INNER_SPACE = late(r"(?<=[^\W\d_])\s+(?=[^\W\d_])|(?<=\d)\s+(?=\d)")


@lru_cache(maxsize=8192)
def spelled(statement: str) -> str:
    """A cleaned statement without LaTeX and without spaces around signs, roots and fractions in one form."""
    if statement.isalnum() and statement.isascii():
        return statement
    if _FORMULA.search(statement):
        statement = _without_commands(statement)
    return "".join(_INNER_SPACE.sub("\0", statement).split()).replace("\0", " ")


def _without_commands(statement: str) -> str:
    """LaTeX, signs of multiplication and brackets of roots and powers in one form; spaces stay."""
    previous = None
    while statement != previous and re.search(r"[\\{√]|sqrt", statement) and len(statement) < 2000:
        previous = statement
        statement = _SCRIPT.sub(lambda match: match[1] + _grouped(match[2]), statement)
        statement = _ROOT.sub(lambda match: f"√{_grouped(next(filter(None, match.groups()), ''))}", statement)
        statement = _FRACTION.sub(_fraction, statement)
    statement = _COMMAND.sub(lambda match: _SYMBOL_OF.get(match[1], match[1][1:] + " "), statement)
    statement = _ION.sub(r"\1", statement)
    return _NO_SIGN.sub("", _PI.sub("π", statement.replace("**", "^").replace("\\", "")))


def _fraction(match: re.Match[str]) -> str:
    r"""a/b, in parentheses where something stands right before or behind it: 3\frac12 is not 31/2."""
    plain = f"{_grouped(match[1] or match[2] or '')}/{_grouped(match[3] or match[4] or '')}"
    before, behind = match.string[: match.start()].rstrip()[-1:], match.string[match.end() :].lstrip()[:1]
    return f"({plain})" if re.search(r"[\w)(\\π√^]", before + behind) else plain


def _grouped(part: str) -> str:
    return part.strip() if _ATOM.fullmatch(part.strip()) else f"({part.strip()})"
