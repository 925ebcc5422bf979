r"""Generated responses to golds of every type, from a seed: noise, restated golds, corrections.

Noise is LaTeX, Unicode, punctuation, markers, values and words in any order. A restated gold is the gold
behind a marker and in a decoration, followed by a harmless remark. A correction names another value.
"""

import random
from collections.abc import Iterator
from typing import NamedTuple

from mstar.answers import Expected


class Subject(NamedTuple):
    """A gold, the ways to state it, and values that are not it."""

    expected: Expected
    stated: tuple[str, ...]
    others: tuple[str, ...]


CHOICES = ("12", "15", "red cat", "$\\frac{3}{4}\\pi$")
SUBJECTS = (
    Subject(
        Expected("14", "number"), ("14", "14.0", "+14", "fourteen", "14 apples", "28/2"), ("15", "-14", "41")
    ),
    Subject(
        Expected("12 cm", "number"), ("12 cm", "12", "120 mm", "12 centimeters"), ("13 cm", "12 m", "12 kg")
    ),
    Subject(Expected("50%", "number"), ("50%", "0.5", "1/2", "50 percent"), ("5%", "0.05", "51%")),
    Subject(Expected("4π", "number"), ("4π", "$4\\pi$", "12.566", "4 pi"), ("4", "3π", "12")),
    Subject(Expected("-2.5", "number"), ("-2.5", "−2.5", "-5/2", "$-\\frac{5}{2}$"), ("2.5", "-2", "-25")),
    Subject(
        Expected("B", "choice", CHOICES),
        ("B", "(B)", "15", "(B) 15", "B. 15", "option B"),
        ("A", "(C)", "12"),
    ),
    Subject(
        Expected("C", "choice", CHOICES),
        ("C", "red cat", "(C) red cat", "the red cat"),
        ("D", "(A) 12", "15"),
    ),
    Subject(Expected("D", "choice", CHOICES), ("D", "(D)", "D)", "$\\frac{3}{4}\\pi$"), ("A", "B", "12")),
    Subject(Expected("B", "choice"), ("B", "(B)", "option B", "[B]"), ("A", "(C)", "D")),
    Subject(Expected("yes", "boolean"), ("yes", "Yes", "true"), ("no", "false", "not true")),
    Subject(Expected("no", "boolean"), ("no", "No", "false"), ("yes", "true", "correct")),
    Subject(Expected("Paris", "text"), ("Paris", "paris", "**Paris**", '"Paris"'), ("London", "Rome", "Par")),
    Subject(
        Expected("grey", "text", other_answers=("gray",)), ("grey", "gray", "Grey"), ("red", "gre", "green")
    ),
    Subject(Expected("[1, 2]", "list"), ("1, 2", "[1, 2]", "1 and 2", "(1, 2)"), ("1, 3", "[2, 1]", "1")),
    Subject(Expected("{a, b}", "list"), ("{a, b}", "b, a", "a and b"), ("{a, c}", "a", "b")),
    Subject(Expected("2x+1", "expression"), ("2x+1", "$2x + 1$", "2x + 1"), ("2x", "2x-1", "x+1")),
    Subject(
        Expected("2\\sqrt{3}", "expression"), ("$2\\sqrt{3}$", "2√3", "\\sqrt{12}"), ("3.46", "3√2", "2")
    ),
)
MARKERS = (
    "Answer: {}",
    "The answer is {}",
    "**Answer:** {}",
    "\\boxed{{{}}}",
    "<answer>{}</answer>",
    "#### {}",
    "Final answer: {}",
    "So the final answer is: {}",
    "The answer is therefore {}",
    "Answer: **{}**",
)
CONCLUSIONS = (
    "So it is {}",
    "The figure shows it. Therefore, it must be {}",
    "It follows from the table; hence it is {}",
    "Because the sides are equal, it is {}",
    "It is {}",
)
REMARKS = (
    "",
    ".",
    "\n",
    "\n\nI hope this helps!",
    "\n\nThis completes the solution.",
    "<|im_end|>",
    "  ",
)
CORRECTIONS = (
    ". Wait, it should be {}.",
    ", no, {}",
    " or {}",
    ". Actually, {}.",
    "\nWait, that is wrong. It is {}.",
    ", but it could also be {}",
    ". Hmm, let me recheck. It should be {}.",
    " (or {})",
    ". Sorry, I mean {}.",
    "\n\nCorrection: {}",
    " or maybe {}",
    ". However, {} is also possible.",
)
NOISE = (
    "Answer: |answer is |the |\\boxed{|}|{|(|)|[|]|$|$$|**|*|_|`|14|15|B|A) |(B)|, | or | and |"
    "because |.|\n|-|1/3|%|cm|\\frac|\\frac{1}{|^|^{|=|≈|yes|no|√|\\sqrt|π|\\pi|½|²|₂|1e9|\\text{|"
    "<answer>|</answer>|<think>|</think>|#### |;|:|!|\ud800|\0|İ|答案|是|选项|个|。|１|，| |not |/|"
    "10^|9^|\\begin{pmatrix}|&|\\\\|\\left(|\\right)|if |wait|\\|~|°|\u202e|\u0301|👍|x|2x+1|red cat|"
    "Paris|, 2|\t|<|>|'|\"|#|@|+|×|\\times|∞|…"
)
PIECES = NOISE.split("|")


def noise(chance: random.Random) -> str:
    """Up to 15 pieces in any order, and now and then any characters of Unicode."""
    pieces = [chance.choice(PIECES) for _ in range(chance.randrange(15))]
    if chance.random() < 0.2:
        pieces.insert(
            chance.randrange(len(pieces) + 1), "".join(chr(chance.randrange(0x11000)) for _ in range(5))
        )
    return "".join(pieces)


def restated(chance: random.Random, subject: Subject, markers: tuple[str, ...] = MARKERS) -> str:
    marker = chance.choice(markers)
    return marker.format(chance.choice(subject.stated)) + (
        chance.choice(REMARKS) if marker != "#### {}" else ""
    )


def corrected(chance: random.Random, subject: Subject, markers: tuple[str, ...] = MARKERS) -> str:
    marker = chance.choice([marker for marker in markers if marker[0] != "#"])
    return marker.format(chance.choice(subject.stated)) + correction(chance, subject)


def correction(chance: random.Random, subject: Subject) -> str:
    return chance.choice(CORRECTIONS).format(chance.choice(subject.others))


def rounds(seed: int, count: int) -> Iterator[tuple[random.Random, Subject]]:
    """A source of chance and a gold, so many times; every type comes up, algebra seldom, for it is slow."""
    weights = [1 if subject.expected.answer_type == "expression" else 6 for subject in SUBJECTS]
    for number in range(count):
        chance = random.Random(f"{seed} {number}")
        yield chance, chance.choices(SUBJECTS, weights)[0]
