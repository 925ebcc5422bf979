"""Rewrites a stated answer into plain characters, so that comparisons need not know LaTeX or Markdown.

`clean` undoes typography (full-width and superscript characters, bold, delimiters, \\text{}, spacing) and
keeps fractions, roots and exponents as they are. `normalize_text` is the equality of texts. `clauses` gives
the shorter readings of an answer that is followed by its explanation.
Every function expects a text of at most MAX_ANSWER_CHARACTERS and is linear, or quadratic in that bound.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from mstar.answers.patterns import late

MAX_ANSWER_CHARACTERS = 1000

_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ"
_SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉"
_FRACTIONS = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
_CHARACTERS = str.maketrans(
    {
        **{character: f" {unicodedata.normalize('NFKC', character)}" for character in _FRACTIONS},
        **{character: f"_{digit}" for digit, character in enumerate(_SUBSCRIPTS)},
        **dict.fromkeys("−‒–－﹣‐‑", "-"),
        **dict.fromkeys("\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad", None),
        **dict.fromkeys("º˚", "°"),
        **dict.fromkeys("“”„«»「」『』", '"'),
        **dict.fromkeys("‘’", "'"),
        **{"【": "[", "】": "]"},
        **dict.fromkeys("⋅∙•", "·"),
        **{"⁄": "/", "∕": "/", "∶": ":", "。": ". ", "、": ", ", "，": ", ", "；": "; ", "≅": "≈", "≃": "≈"},
        **dict.fromkeys("⇒⟹⟶", "→"),
        **{"℃": "°C", "℉": "°F", "✓": " ", "✅": " ", "…": "..."},
    }
)
_SUPERSCRIPT_RUN = late(f"[{_SUPERSCRIPTS}]+")
_SUPERSCRIPT_VALUES = str.maketrans(_SUPERSCRIPTS, "0123456789+-n")

_WRAPPER = late(
    r"\\(?:ce|text[a-z]*|math[a-z]+|mbox|hbox|operatorname|boldsymbol|bm|emph|underline|boxed|fbox|ensuremath"
    r"|(?:text)?color\{\w+\})\s*\{([^{}]*)\}"
)
_LATEX = tuple(
    (late(pattern + r"(?![A-Za-z])" if pattern[-1].isalpha() or pattern[-1] == ")" else pattern), plain)
    for pattern, plain in (
        (r"(?<!\\)\\(?:!\s*|[,;: ](?=!)|(?<=\d,\\),(?=\d{3}(?!\d)))", ""), (r"(?<!\\)\\[()\[\]]", " "),
        (r"\^\s*\{?\s*\\(?:circ|degree)\s*\}?|\\(?:text)?degrees?\b|\^\{°\}", "°"),
        (r"(?<!\\)\\[,;: ]|\\\\\s*$|\\(?=\.)|\\(?:hspace|phantom)\{[^{}]*\}", " "),
        (r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])\.?", ""),
        (r"\\(?:text|mathrm|mathbf|textbf|bf|rm|it|displaystyle|textstyle|limits)", " "),
        (r"\\(?:times|ast)", "×"), (r"\\cdot", "·"), (r"\\div", "÷"),
        (r"\\(?:approx|simeq|thickapprox)", "≈"),
        (r"\\(?:to|implies|(?:Long)?[Rr]ightarrow)", "→"), (r"\\(?:angle|measuredangle)", "∠"),
        (r"\\triangle", "△"), (r"\\Omega", "Ω"),
        (r"\\[dtc]frac", r"\\frac"), (r"\\(?:l|c)?dots", "..."),
        (r"\{([<>=])\}", r"\1"), (r"\\([%#&_])", r"\1"),
    )
)  # fmt: skip
_MARKUP = tuple(
    (late(pattern), plain)
    for pattern, plain in (
        (r"</?(?:b|i|u|em|strong|span|p|sup|sub)>", ""),
        (r"\\(?:q?quad|newline)(?![A-Za-z])", " "),
        *[(r"(?<![\w)\]}])(\*\*\*|\*\*|__|`+)(?=\S)(.{1,400}?)(?<=\S)\1(?![\w(])", r"\2")] * 2,
        (r"(?<![\w)\]}*\\^])([*_])(?=[^\s*_])([^*_\n]{1,200})(?<=\S)\1(?![\w(*])", r"\2"),
        (r"\*\*(?=[\s,.;:!?)]|$)|(?:(?<=\s)|^)\*\*(?=\w)", ""),
    )
)
_CURRENCY = late(r"\$\s*[-+]?\s*[\d.]|[\d.]\s*\$")
_QUOTED = late(r"^([\"'])([^\"']{1,80})\1(?=\s|$)")
_PLAIN = late(r"[^\\<*_`$~{}\x80-\U0010ffff]*")
_TRAILING, _LEADING = " \t\r\n;?,。*_`", " \t\r\n:;*`"
_CLOSING = late(r"!(?<![\d)}!].)(?:(?<!\b[A-Za-z].)|!)!*$|です$|입니다$")


@lru_cache(maxsize=4096)
def clean(statement: str) -> str:
    """The statement in plain characters, on one line, without outer punctuation, quotes and emphasis."""
    if statement.isascii() and statement.isalnum():
        return statement
    if not _PLAIN.fullmatch(statement):
        statement = _without_latex(_plain_unicode(statement))
    statement = " ".join(statement.split())
    return _trim(_QUOTED.sub(r"\2", statement) if statement[:1] in ("'", '"') else statement)


def _plain_unicode(statement: str) -> str:
    spelled = _SUPERSCRIPT_RUN.sub(lambda run: "^{" + run[0].translate(_SUPERSCRIPT_VALUES) + "}", statement)
    # Twice: compatibility forms such as the full-width minus turn into characters of the table.
    return unicodedata.normalize("NFKC", spelled.translate(_CHARACTERS)).translate(_CHARACTERS)


def _without_latex(statement: str) -> str:
    """Without Markdown and LaTeX; dollars in pairs are delimiters, an escaped or single one is a currency."""
    for pattern, plain in _MARKUP:
        statement = pattern.sub(plain, statement)
    statement = statement.replace("\\$", "\0")
    if "\\" in statement:
        for _ in range(4):
            statement = _WRAPPER.sub(r"\1", statement)
        for pattern, plain in _LATEX:
            statement = pattern.sub(plain, statement)
    for written, plain in (("$$", " "), ("^°", "°"), ("~", " "), ("{,}", ","), ("{}", "")):
        statement = statement.replace(written, plain)
    if statement.count("$") != 1 or not _CURRENCY.search(statement):
        statement = statement.replace("$", "")
    return statement.replace("\0", "$")


def _trim(statement: str) -> str:
    previous = None
    while statement != previous:
        previous = statement
        statement = _CLOSING.sub("", statement.rstrip(_TRAILING).lstrip(_LEADING))
        first, last = statement[:1], statement[-1:]
        if last == "." and not statement.endswith("..") or last == ")" and not re.search(r"[(\[]", statement):
            statement = statement[:-1]
        elif first + last in ("''", '""', "<>") and len(statement) > 2:
            statement = statement[1:-1]
    return statement


REASON = late(
    r"(?i)(?:[,;(–—-]\s*|\b)(?:because|since|as (?:the|it|we|there|shown|per|this|both|all|they|a|an)|which"
    r"|where|so that|given that|due to|based on|obtained"
    r"|by (?:using|the|adding|subtracting|multiplying|counting))\b"
    r"|,\s*(?=(?:so|therefore|thus|hence|the|both|all|it|this|that|with|not|rounded|respectively|in|i\.e|is|he"
    r"|she|they|we|there|for|when|if|after|according|from)\b)|\s+[–—-]\s+(?=[a-z]{2}\w*\s\w)|\s+—\s+"
    r"|;\s*(?=[a-z]{3})|→|\((?:rounded|since|because|as)\b|:\s+(?=\S+ \S+ \S+)"
    r"|因为|,\s*(?=而?不)"
)
SENTENCE_END = late(
    r"(?:[.?]|!(?:(?<![\d)}].)|(?=\s+[^a-z\s])))(?=[\"']?\s)(?<!\bsq.)(?<!\bcu.)(?<!\bapprox.)(?<!\bSt.)"
    r"(?<!\bDr.)(?<!\bMr.)(?<!\bi\.e.)(?<!\be\.g.)(?<!\bvs.)|\.(?<=\w.)(?=[A-Z][a-z])"
)
CONTRAST = late(
    r"(?i)\b(?:not (?!only|just|quite|sure|clear)|neither )[^,.;\n]{1,40}?"
    r"(?:,? but(?: rather)?|[,;] (?:it is|it's|rather))\s+(?=\S)"
    r"|不是[^，,。\n]{1,20}[，,]\s*(?:而是|应该?是|是)"
)
"""What is put aside for what follows: "not 15 but" 14."""
_REMARK = late(
    r"(?i)\s*\((?=[^()]*\d[^()]*\)$|(?!.*\b(?:or|to|and)\b)[a-z]+ [a-z ]+\)$|not\b|i\.e|approx|rounded"
    r"|in (?:this|that|any) order)"
)


def clauses(statement: str) -> Iterator[tuple[str, str]]:
    """The readings of a cleaned statement, each with what follows it: all of it, its first sentence, what
    precedes a reason, and what precedes a remark in parentheses.
    """
    yield statement, ""
    sentence_end = SENTENCE_END.search(statement)
    first = statement[: sentence_end.start()] if sentence_end else statement
    if sentence_end and first.strip():
        yield _trim(first), statement[sentence_end.start() :]
    for mark in (REASON, _REMARK):
        cut = mark.search(first)
        if cut and first[: cut.start()].strip():
            yield _trim(first[: cut.start()]), statement[cut.start() :]


_MARK = late(r"[^\w\s]|_")
_SIGNS = frozenset("%#@/*\\")
_ARTICLE = late(
    r"(?:(?<!\S)(?:the|an|a|The|An|THE|AN)|^A(?=\s+[^\W\d_])|(?<=[a-z] )and(?= \d))\s+"
    r"(?!(?:and|or|is)\b)(?=\w)"
)


@lru_cache(maxsize=8192)
def normalize_text(text: str) -> str:
    """Equality of texts: NFKC, case, articles before a word, punctuation and whitespace do not matter.

    Signs that carry meaning (+, %, #, <, a minus before a digit, the point inside a number, ...) do.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_CHARACTERS)
    spaced = " ".join(_MARK.sub(_mark_or_space, text.replace("&", " and ")).split())
    return " ".join(_ARTICLE.sub("", spaced).casefold().split())


def _mark_or_space(match: re.Match[str]) -> str:
    mark, text = match[0], match.string
    before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
    if mark == ".":
        is_initial = before.isalpha() and not text[max(match.start() - 2, 0) : match.start() - 1].isalnum()
        return "." if after.isdigit() and before.isdigit() else "" if is_initial and after.isalpha() else " "
    if mark == "-":
        is_minus = (after.isdigit() or after == ".") and not before.isalnum()
        return "-" if is_minus or text.strip() == "-" else " "
    if mark == "'" and before.isalnum() and after.isalnum():
        return ""
    return mark if mark in _SIGNS or unicodedata.category(mark)[0] not in "PC" else " "
