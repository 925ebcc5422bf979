r"""Expressions before algebra: their spelling, what it alone decides, and the form for math-verify.

- Equal after normalisation is equal. Where gold and answer are both plain numbers, the rules of
  `quantities` hold.
- Left to math-verify (in a worker): everything else that is a formula. Case matters there (R and r differ),
  and so do the brackets of a pair or interval: (1, 2), [1, 2] and {1, 2} are three answers; unbracketed "1,
  2" is a set.
- Never sent there: prose, and alternatives ("x or y") that the gold does not have: math-verify reads words as
  products of letters, and "or" as a set.
- A unit in \text{} or behind the formula counts as in `quantities`: a wrong one is wrong, none is right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mstar.answers.agreement import quantities_agree
from mstar.answers.quantities import Quantity, parse_quantity
from mstar.answers.units import canonical_unit, is_measure, units_agree

_FUNCTION_NAMES = (
    "arcsin arccos arctan sinh cosh tanh sin cos tan sec csc cot log ln exp sqrt max min lim gcd det mod "
    "alpha beta gamma delta epsilon theta lambda mu pi rho sigma tau phi psi omega infty cup cap in or and"
)
_FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
_SHORT_WORDS = frozenset(
    {"is", "the", "it", "of", "are", "was", "for", "not", "an", "to", "we", "by", "yes", "no", "but"}
)
_NAMES = re.compile(
    r"(?<![\\A-Za-z])(arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|sec|csc|cot|log|ln|exp"
    r"|alpha|beta|gamma|delta|theta|lambda|pi|phi|omega|sigma)(?![A-Za-z])"
)
_COMMAND = re.compile(r"\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]+")
_CHARACTERS = str.maketrans(
    {"π": r"\pi ", "×": r"\times ", "·": r"\cdot ", "÷": r"\div ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ",
     "∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ",
     "±": r"\pm ", "∈": r"\in "}
)  # fmt: skip
_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|\{([^{}]*)\}|(\d+(?:\.\d+)?|\w))|(?<![\\\w])sqrt\s*\(([^()]*)\)")
_EXPONENT = re.compile(r"\^\s*(-?\d{2,}|-\d)|\^\s*\((-?\w+)\)")
_SPACES = re.compile(r"\s+")
_ALTERNATIVE = re.compile(r"(?<![A-Za-z])(?:or|and)(?![A-Za-z])|(?:\\lor|\\vee)(?![A-Za-z])")
_SURD = re.compile(r"√|\\sqrt|(?<![A-Za-z])sqrt\s*\(|π|\\pi(?![A-Za-z])|(?<![A-Za-z\\])pi(?![A-Za-z])")
_NUMERIC = re.compile(r"[-+*/^(){}\[\].\d\s,×·÷]*")


@dataclass(frozen=True, slots=True)
class Expression:
    formula: str
    unit: str
    quantity: Quantity | None


def read_expression(statement: str) -> Expression:
    """A cleaned statement as a formula in LaTeX, without its unit."""
    formula, unit = _unit_split(statement)
    return Expression(_latex(formula), unit, parse_quantity(statement, sentence=False))


def is_formula(statement: str) -> bool:
    """Whether a cleaned statement says something without words (functions, Greek letters and units aside)."""
    formula, _ = _unit_split(statement)
    words = _WORD.findall(_COMMAND.sub(" ", formula))
    return bool(_latex(formula)) and not any(_is_prose(word) for word in words)


def _is_prose(word: str) -> bool:
    return word.lower() in _SHORT_WORDS or (len(word) > 3 and word.lower() not in _FUNCTIONS)


def is_surd(statement: str) -> bool:
    """Whether a statement is a number written with a root or π, and nothing but numbers beside it."""
    if not _SURD.search(statement):
        return False
    formula, _ = _unit_split(statement)
    return _NUMERIC.fullmatch(_SURD.sub(" ", re.sub(r"\\[dt]?frac(?![A-Za-z])", " ", formula))) is not None


def compare_directly(gold: Expression, statement: str) -> bool | None:
    """True or False where no algebra is needed, None where it is."""
    answer = read_expression(_unit_set_off(statement) if gold.unit else statement)
    if not units_agree(gold.unit, answer.unit):
        return False
    if _spelled(gold.formula) == _spelled(answer.formula):
        return True
    if gold.quantity and answer.quantity:
        return quantities_agree(gold.quantity, answer.quantity)
    if not is_formula(statement) or _offers_alternatives(gold.formula, answer.formula):
        return False
    return None if _brackets_agree(gold.formula, answer.formula) else False


def _spelled(formula: str) -> str:
    return _SPACES.sub("", formula.replace(r"\cdot ", "*").replace(r"\times ", "*").replace("\\{", "{"))


def _latex(formula: str) -> str:
    formula = _ROOT.sub(lambda m: rf"\sqrt{{{m[1] or m[2] or m[3] or m[4] or ''}}}", formula)
    formula = formula.replace("**", "^").translate(_CHARACTERS)
    formula = _NAMES.sub(r"\\\1 ", formula)
    formula = _EXPONENT.sub(lambda m: f"^{{{m[1] or m[2]}}}", formula)
    formula = re.sub(r"\^\{(\w)\}", r"^\1", formula)
    return _SPACES.sub(" ", formula.replace("*", r"\cdot ")).strip()


_PI = re.compile(r"\\pi(?![A-Za-z])|(?<![A-Za-z\\])pi(?![A-Za-z])")
_UNIT = re.compile(
    r"^(.*[\d)}π])\s*((?:square |cubic |sq\.? )?[A-Za-zµΩ°%][A-Za-z/°. ]{0,30}(?:\^\{?\d\}?|[23])?)$"
)


def _unit_split(statement: str) -> tuple[str, str]:
    statement = _PI.sub("π", statement)
    match = _UNIT.match(statement)
    if match and (len(match[2].strip()) > 1 or match[2] in "°%"):
        unit = canonical_unit(match[2])
        if (
            unit
            and (is_measure(unit) or unit in ("unit", "units"))
            and match[2].lower().strip() not in _FUNCTIONS
        ):
            return match[1].strip(), unit
        if not unit:
            return match[1].strip(), ""
    return statement, ""


def _unit_set_off(statement: str) -> str:
    """A single letter behind a blank is a unit where the gold has one: "2π m" becomes "2π meter"."""
    return re.sub(r"(?<=[\d)}π])\s+([mgsh])$", lambda match: f" {_LONG_UNITS[match[1]]}", statement)


_LONG_UNITS = {"m": "meter", "g": "gram", "s": "second", "h": "hour"}


def _offers_alternatives(gold: str, answer: str) -> bool:
    if _ALTERNATIVE.search(answer) and not _ALTERNATIVE.search(gold):
        return "," not in gold
    return False


def _brackets(formula: str) -> str:
    plain = formula.replace("\\{", "{").replace("\\}", "}").replace("\\", "")
    if plain[:1] in ("(", "[", "{") and plain[-1:] in (")", "]", "}") and "," in plain:
        return plain[0] + plain[-1]
    return ""


def _brackets_agree(gold: str, answer: str) -> bool:
    gold_brackets, answer_brackets = _brackets(gold), _brackets(answer)
    if not gold_brackets:
        return True
    return gold_brackets == answer_brackets or (gold_brackets == "{}" and not answer_brackets)
