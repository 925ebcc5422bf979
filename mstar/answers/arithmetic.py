r"""The value of a formula of numbers: `2^4`, `2\sqrt{3}`, `\frac{9\pi}{2}`, `4!`, `7\frac12`.

Exact where it is rational, else rounded to DIGITS significant digits, so that different values stay different:
nothing is a float. None for anything else: letters, unbalanced brackets, division by zero, results or powers too
large to be written out. A recursive descent; its depth and the size of every number are bounded.
"""

from __future__ import annotations

import math
import re
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from functools import lru_cache

DIGITS = 50
_WORKING_DIGITS = 80
_MAX_CHARACTERS, _MAX_DEPTH, _MAX_BITS = 200, 20, 4000
_PI = Fraction("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211707")
_TOKEN = re.compile(
    r"(?P<number>\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"|(?P<name>\\(?:frac|sqrt|pi|times|cdot|div)(?![A-Za-z])|√|π|(?<![A-Za-z])(?:pi|sqrt)(?![A-Za-z]))"
    r"|(?P<mark>\*\*|[-+*/^(){}\[\]!×·÷])|(?P<blank>[\s]+|\\[,;:! ])"
)
_NAMES = {"\\times": "*", "\\cdot": "*", "×": "*", "·": "*", "\\div": "/", "÷": "/", "**": "^", "\\pi": "π", "pi": "π",
          "sqrt": "√", "\\sqrt": "√", "\\frac": "frac"}  # fmt: skip
_CLOSING = {"(": ")", "{": "}", "[": "]"}


@lru_cache(maxsize=4096)
def value_of(formula: str) -> Fraction | None:
    """The value of a formula of numbers, roots, powers, factorials and π; None for any other text."""
    tokens = _tokens(formula)
    if not tokens:
        return None
    parser = _Parser(tokens)
    try:
        value = parser.sum()
    except (ValueError, ZeroDivisionError, IndexError, OverflowError):
        return None
    if parser.tokens:
        return None
    return value if parser.is_exact else _rounded(value)


def _tokens(formula: str) -> list[str]:
    """The tokens, digits of \\frac12 apart; empty where the text is no formula of numbers."""
    tokens: list[str] = []
    position = 0
    if len(formula) > _MAX_CHARACTERS:
        return []
    while position < len(formula):
        match = _TOKEN.match(formula, position)
        if match is None:
            return []
        position = match.end()
        if match["blank"]:
            continue
        bare = tokens[-1:] in (["frac"], ["√"]) or tokens[-2:-1] == ["frac"] and tokens[-1].isdigit()
        if bare and formula[match.start() - 1] != "√" and match["number"] and match["number"].isdigit():
            tokens.append(match[0][0])
            position = match.start() + 1
        else:
            tokens.append(_NAMES.get(match[0], match[0].replace(",", "")))
    return tokens


class _Parser:
    """What is left of the tokens, and one method per level of precedence."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.depth = 0
        self.is_exact = True

    def sum(self) -> Fraction:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise ValueError
        sign = self._sign()
        value = sign * self._product()
        while self._next() in ("+", "-"):
            value += self._sign() * self._product()
        self.depth -= 1
        return _bounded(value)

    def _next(self) -> str:
        return self.tokens[0] if self.tokens else ""

    def _sign(self) -> int:
        sign = 1
        while self._next() in ("+", "-"):
            sign *= -1 if self.tokens.pop(0) == "-" else 1
        return sign

    def _product(self) -> Fraction:
        whole = self._next().isdigit() and self.tokens[1:2] == ["frac"]
        value = self._power()
        if whole:
            part = self._power()
            value = value + part if 0 < part < 1 and _is_short(part) else value * part
        while following := self._next():
            if following == "/":
                self.tokens.pop(0)
                value /= self._sign() * self._power()
            elif following == "*":
                self.tokens.pop(0)
                value *= self._sign() * self._power()
            elif following in ("π", "√", "(", "{", "frac"):
                value *= self._power()
            else:
                break
            _bounded(value)
        return value

    def _power(self) -> Fraction:
        base = self._atom()
        while self._next() == "!":
            self.tokens.pop(0)
            if base.denominator != 1 or not 0 <= base <= 300:
                raise ValueError
            base = Fraction(math.factorial(int(base)))
        if self._next() != "^":
            return base
        self.tokens.pop(0)
        sign = self._sign()
        exponent = sign * self._power()
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if exponent.denominator > 9 or abs(exponent) > 1000 or bits * abs(exponent) > _MAX_BITS:
            raise OverflowError
        return _bounded(self._root(base, exponent.denominator) ** exponent.numerator)

    def _atom(self) -> Fraction:
        token = self.tokens.pop(0)
        if token in _CLOSING:
            value = self.sum()
            if self.tokens.pop(0) != _CLOSING[token]:
                raise ValueError
            return value
        if token == "frac":
            numerator = self._atom()
            return numerator / self._atom()
        if token == "√":
            degree = 2
            if self._next() == "[":
                index = self._atom()
                degree = int(index) if index.denominator == 1 else 0
            return self._root(self._atom(), degree)
        if token == "π":
            self.is_exact = False
            return _PI
        if len(token) > 60 or token[0] not in ".0123456789":
            raise ValueError
        return Fraction(token)

    def _root(self, value: Fraction, degree: int) -> Fraction:
        """The real root: exact where it is rational, else to the working digits."""
        if degree == 1:
            return value
        if not 2 <= degree <= 9 or (value < 0 and degree % 2 == 0):
            raise ValueError
        if value < 0:
            return -self._root(-value, degree)
        exact = Fraction(_integer_root(value.numerator, degree), _integer_root(value.denominator, degree))
        if exact**degree == value:
            return exact
        self.is_exact = False
        scale = 10**_WORKING_DIGITS
        return Fraction(_integer_root(int(value * scale**degree), degree), scale)


def _is_short(value: Fraction) -> bool:
    return value.denominator < 10**6


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MAX_BITS:
        raise OverflowError
    return value


def _integer_root(value: int, degree: int) -> int:
    """The largest integer whose power is not above a value that is not negative, by Newton's method."""
    if value < 2:
        return value
    guess = 1 << -(-value.bit_length() // degree)
    while True:
        closer = ((degree - 1) * guess + value // guess ** (degree - 1)) // degree
        if closer >= guess:
            return guess
        guess = closer


def _rounded(value: Fraction) -> Fraction:
    context = Context(prec=DIGITS, rounding=ROUND_HALF_EVEN)
    return Fraction(context.divide(Decimal(value.numerator), Decimal(value.denominator)))
