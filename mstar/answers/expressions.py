r"""Expressions before algebra: their spelling, what it alone decides, and the form for math-verify.

- Equal as `spelled` is equal. Where both are numbers (also with roots, powers, π), their values decide: by
  the rules of `quantities`, exactly where one has a root, power or π. A name (ABCD) is only itself.
- Left to math-verify (in a worker): everything else that is a formula. Case matters there (R and r differ),
  and so do the brackets of a pair or interval: (1, 2), [1, 2] and {1, 2} are three answers; 1, 2 is a set.
- Never sent there: prose and more than MAX_CHARACTERS, as math-verify reads words as products of letters.
- A unit in \text{} or behind the formula counts as in `quantities`: a wrong one is wrong, none is right.
"""

import re
from dataclasses import dataclass

from mstar.answers.leads import UNSOLVED
from mstar.answers.patterns import late
from mstar.answers.quantities import FORMULA, Quantity, parse_quantity, quantities_agree, split_unit
from mstar.answers.spelling import SYMBOLS, spelled
from mstar.answers.units import conversion, is_measure

MAX_CHARACTERS = 300

_NAMED = (
    "arcsin arccos arctan sinh cosh tanh sin cos tan sec csc cot log ln exp alpha beta gamma delta theta"
    " lambda pi phi omega sigma"
)
_LONG_NAMES = {*_NAMED.split(), "sqrt", "epsilon", "infty"}
_PROSE = "is the it of are was for not an to we by yes no but"
_SHORT_WORDS = frozenset(_PROSE.split())
_NAMES = late(rf"(?<![\\A-Za-z])({'|'.join(_NAMED.split())})(?![A-Za-z])")
_MATRIX = late(r"\\(begin|end)\s*\{[bpvBV]?(?:small)?matrix\}|\\(?:begin|end)\s*\{array\}(?:\{[clr|]*\})?")
_ELEMENT = late(r"^[A-Za-z]\s*(?:\\in(?![A-Za-z])|∈)\s*(?=[\[(])")
_COMMAND = late(r"\\[A-Za-z]+")
_WORD = late(r"[^\W\d_]+")
_CHARACTERS = str.maketrans({symbol: f"{command} " for symbol, command in SYMBOLS.items()})
_ROOT = late(r"√\s*(?:\(([^()]*)\)|\{([^{}]*)\}|(\d+(?:\.\d+)?|\w))|(?<![\\\w])sqrt\s*\(([^()]*)\)")
_EXPONENT = late(r"\^\s*(-?\d{2,}|-\d)|\^\s*\((-?\w+)\)")
_SPACES = late(r"\s+")
NAME_EQUALS = late(
    r"^(?:m?∠\s?\d|(?:m?[∠△]\s?|\\?(?:sin|cos|tan)\s?)?(?:[^\W\d_]{1,3}|\d+°)"
    r"(?:_?\{?\d\}?|\([^\W\d_]{1,2}\)|')?)\s*[=≈]\s*"
)
_LETTERS = late(r"[A-Z]{2,8}|[∠△][A-Z]{1,8}")


@dataclass(frozen=True, slots=True)
class Expression:
    """A formula in LaTeX without its unit; `quantity` where it is one number."""

    formula: str
    spelling: str
    unit: str
    quantity: Quantity | None
    is_exact: bool
    """Whether it has a root, power or π, which a decimal is no spelling of."""

    @property
    def is_name(self) -> bool:
        return _LETTERS.fullmatch(self.spelling) is not None


def read_expression(statement: str) -> Expression:
    """A cleaned statement as an expression."""
    statement = _ELEMENT.sub("", statement, count=1)
    formula, unit = split_unit(statement)
    quantity = parse_quantity(statement, sentence=False)
    if quantity and quantity.unit and not is_measure(quantity.unit) and is_formula(quantity.unit):
        quantity = None  # 7xyz counts no xyz
    is_exact = FORMULA.search(statement) is not None
    return Expression(_latex(formula), spelled(formula), unit, quantity, is_exact)


def is_formula(statement: str) -> bool:
    """Whether a cleaned statement says something without words (functions, Greek letters and units aside)."""
    formula, _ = split_unit(_MATRIX.sub(" ", statement))
    words = _WORD.findall(_COMMAND.sub(" ", formula))
    lowered = [word.lower() for word in words if not _LETTERS.fullmatch(word)]
    is_prose = any(
        word in _SHORT_WORDS or word > "一" or (len(word) > 3 and word not in _LONG_NAMES) for word in lowered
    )
    return 0 < len(_latex(formula)) <= MAX_CHARACTERS and not is_prose


def compare_directly(gold: Expression, statement: str) -> bool | None:
    """True or False where no algebra is needed, None where it is."""
    if "=" not in gold.formula:
        if UNSOLVED.match(statement):
            return False
        statement = NAME_EQUALS.sub("", statement)
    answer = read_expression(statement)
    factor = conversion(gold.unit, answer.unit)
    if factor is None:
        return False
    if factor == 1 and gold.spelling == answer.spelling:
        return True
    if gold.quantity and answer.quantity:
        if not (gold.is_exact or answer.is_exact):
            return quantities_agree(gold.quantity, answer.quantity)
        return gold.quantity.value == answer.quantity.value * factor
    if factor != 1 or gold.is_name or not is_formula(statement):
        return False
    wanted, given = _brackets(gold.formula), _brackets(answer.formula)
    return None if not wanted or wanted == given or (wanted == "{}" and not given) else False


def _latex(formula: str) -> str:
    formula = _ROOT.sub(lambda m: rf"\sqrt{{{m[1] or m[2] or m[3] or m[4] or ''}}}", formula)
    formula = formula.replace("**", "^").translate(_CHARACTERS)
    formula = _NAMES.sub(r"\\\1 ", formula)
    formula = _EXPONENT.sub(lambda m: f"^{{{m[1] or m[2]}}}", formula)
    formula = re.sub(r"\^\{(\w)\}", r"^\1", formula)
    return _SPACES.sub(" ", formula.replace("°", "").replace("*", r"\cdot ")).strip()


def _brackets(formula: str) -> str:
    plain = formula.replace("\\", "")
    is_enclosed = plain[:1] in ("(", "[", "{") and plain[-1:] in (")", "]", "}") and "," in plain
    return plain[0] + plain[-1] if is_enclosed else ""
