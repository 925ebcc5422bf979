r"""The value of a formula of numbers: `2^4`, `2\sqrt{3}`, `\frac{9\pi}{2}`, `4!`.

Exact where it is rational, else rounded to 50 significant digits, so that different values stay different:
nothing is a float. None for anything else: letters, unbalanced brackets, division by zero, huge numbers.
"""

import ast
import math
import operator
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache

from mstar.answers.patterns import late
from mstar.answers.spelling import spelled

_DIGITS, _WORKING_DIGITS, _MAX_CHARACTERS, _MAX_BITS = 50, 80, 200, 4000
_PI = Fraction("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803")
_PYTHON = (
    (late(r"(?<=\d),(?=\d{3}(?!\d))"), ""),
    (late(r"(?<!\d)0+(?=\d)"), ""),
    (late(r"(\d*)\.(\d+)"), lambda match: f"({int(match[1] + match[2])}/{10 ** len(match[2])})"),
    (late(r"binom\((\d{1,3})\)\((\d{1,3})\)"), lambda match: str(math.comb(int(match[1]), int(match[2])))),
    (late(r"(\d+)!"), r"F(\1)"),
    (late(r"√(\d+|π|\([\d/]+\))"), r"√(\1)"),
    (late(r"(?<=[\dπ)])(?=[π√(F])|(?<=[π)])(?=\d)"), "*"),
    (late(r"\^"), "**"), (late(r"[×·]"), "*"), (late("÷"), "/"),
    (late("π"), "P"), (late("√"), "R"),
)  # fmt: skip
_ALLOWED = late(r"[-+*/()\dPRF]+")
_IRRATIONAL = late(r"[PR]|\*\*\([^)]*/")
_MIXED = late(r"\d\(\d+/\d+\)")
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


@lru_cache(maxsize=4096)
def value_of(formula: str) -> Fraction | None:
    """The value of a cleaned formula of numbers, roots, powers, factorials and π; else None."""
    text = spelled(formula).replace("{", "(").replace("}", ")") if len(formula) <= _MAX_CHARACTERS else ""
    if _MIXED.search(text):
        return None  # a mixed number or a product
    for pattern, python in _PYTHON:
        text = pattern.sub(python, text)
    if not _ALLOWED.fullmatch(text):
        return None
    try:
        value = _evaluated(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return None
    return _rounded(value) if _IRRATIONAL.search(text) else value


def _evaluated(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() as number):
            value = Fraction(number)
        case ast.Name(id="P"):
            value = _PI
        case ast.UnaryOp(operand=operand, op=op):
            value = -_evaluated(operand) if isinstance(op, ast.USub) else _evaluated(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            value = _power(_evaluated(left), _evaluated(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            value = _OPERATORS[type(op)](_evaluated(left), _evaluated(right))
        case ast.Call(func=ast.Name(id="R"), args=[of]):
            value = _root(_evaluated(of))
        case ast.Call(func=ast.Name(id="F"), args=[ast.Constant(value=int() as number)]) if number <= 300:
            value = Fraction(math.factorial(number))
        case _:
            raise ValueError("no formula of numbers")
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MAX_BITS:
        raise OverflowError
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if exponent.denominator > 2 or abs(exponent) > 1000 or bits * abs(exponent) > _MAX_BITS:
        raise OverflowError
    return (_root(base) if exponent.denominator == 2 else base) ** exponent.numerator


def _root(value: Fraction) -> Fraction:
    """The square root: exact where it is rational, else to the working digits."""
    exact = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
    if exact * exact == value:
        return exact
    shift = 10**_WORKING_DIGITS
    return Fraction(math.isqrt(value.numerator * shift**2 // value.denominator), shift)


def _rounded(value: Fraction) -> Fraction:
    return Fraction(Context(prec=_DIGITS).divide(Decimal(value.numerator), Decimal(value.denominator)))
