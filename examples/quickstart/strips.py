"""Strips of handwritten digits: the problems of the quick start, drawn, asked, solved and judged.

A strip is a row of 28 x 28 grey cells: real handwritten digits joined by drawn + and -. Three kinds of
question are asked about its value: the number itself, whether it exceeds a bound, and which of three near
misses it is. Solutions are written in three styles of different quality, because a base model that is to
improve by training on its own responses must have seen good and bad ones, as real pre-training data are.
Everything that is random takes a numpy generator, so each strip can be drawn again. Only numpy and pillow.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

CELL = 28
SHIFT = 2  # pixels by which a digit may lie off the middle of its cell
TRAINING_DIGITS = 1397  # the digits after these are drawn in held-out sets only
LARGEST_VALUE = 39
KINDS = ("number", "boolean", "choice")
LETTERS = "abc"
STEP_SEPARATOR = ";"


@dataclass(frozen=True)
class Style:
    """How often a way of writing solutions goes wrong, as probabilities."""

    slip_per_step: float
    minus_read_as_plus: float
    last_term_skipped: float


STYLES = {
    "clean": Style(0.0, 0.0, 0.0),
    "careful": Style(0.05, 0.0, 0.0),
    "hasty": Style(0.20, 0.35, 0.40),
}
GUESS_IS_OFF = 0.40
LARGEST_GUESS_ERROR = 4


@dataclass(frozen=True)
class StripProblem:
    """A strip and a question about it; `options` are the bound (boolean) or the three values (choice)."""

    terms: tuple[int, ...]  # signed; -0 is a zero behind a minus, see `minus`
    minus: tuple[bool, ...]
    kind: str
    options: tuple[int, ...]
    levels: np.ndarray  # (28, 28 * cells) uint8 grey levels 0 ... 15

    @property
    def value(self) -> int:
        return sum(self.terms)

    @property
    def question(self) -> str:
        if self.kind == "number":
            return "value?"
        if self.kind == "boolean":
            return f"> {self.options[0]}?"
        return " ".join(f"{value}{letter}" for value, letter in zip(self.options, LETTERS, strict=True)) + "?"

    @property
    def answer(self) -> str:
        return conclude(self, self.value)[1]


@cache
def handwritten_digits() -> tuple[np.ndarray, np.ndarray]:
    """The 1,797 digits as (1797, 32, 32) float32 ink in [0, 1] with room to shift, and their labels."""
    with np.load(Path(__file__).with_name("digits.npz")) as stored:
        images, labels = stored["images"], stored["labels"]
    cells = np.zeros((len(images), CELL + 2 * SHIFT, CELL + 2 * SHIFT), dtype=np.float32)
    for cell, image in zip(cells, images, strict=True):
        enlarged = Image.fromarray(image * 15).resize((22, 22), Image.Resampling.BICUBIC)
        cell[5:27, 5:27] = np.asarray(enlarged, dtype=np.float32) / 240
    return cells.clip(0, 1), labels.astype(np.int64)


@cache
def _digits_of(label: int, held_out: bool) -> np.ndarray:
    labels = handwritten_digits()[1]
    start, stop = (TRAINING_DIGITS, len(labels)) if held_out else (0, TRAINING_DIGITS)
    return start + np.flatnonzero(labels[start:stop] == label)


def _sign_cell(minus: bool, rng: np.random.Generator) -> np.ndarray:
    cell = np.zeros((CELL + 2 * SHIFT, CELL + 2 * SHIFT), dtype=np.float32)
    half, width = int(rng.integers(6, 10)), int(rng.integers(2, 4))
    cell[15 : 15 + width, 16 - half : 16 + half] = 0.9
    if not minus:
        cell[16 - half : 16 + half, 15 : 15 + width] = 0.9
    return cell


def _distort(cell: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A thicker stroke and a turn by up to 15 degrees: what the base has never seen."""
    thick = cell.copy()
    thick[1:] = np.maximum(thick[1:], cell[:-1])
    thick[:, 1:] = np.maximum(thick[:, 1:], thick[:, :-1])
    picture = Image.fromarray((thick * 255).astype(np.uint8))
    turned = picture.rotate(float(rng.uniform(-15, 15)), resample=Image.Resampling.BILINEAR)
    return np.asarray(turned, dtype=np.float32) / 255


def draw(
    terms: tuple[int, ...], minus: tuple[bool, ...], rng: np.random.Generator, held_out: bool, distorted: bool
) -> np.ndarray:
    """Grey levels 0 ... 15 of a strip, (28, 28 * cells) uint8: one cell a term, one a sign between terms."""
    cells = []
    for position, (term, is_minus) in enumerate(zip(terms, minus, strict=True)):
        if position:
            cells.append(_sign_cell(is_minus, rng))
        alike = _digits_of(abs(term), held_out)
        cells.append(handwritten_digits()[0][alike[rng.integers(len(alike))]])
    if distorted:
        cells = [_distort(cell, rng) for cell in cells]
    corners = rng.integers(0, 2 * SHIFT + 1, size=(len(cells), 2)).tolist()
    cut = [
        cell[top : top + CELL, left : left + CELL] for cell, (top, left) in zip(cells, corners, strict=True)
    ]
    strip = np.concatenate(cut, axis=1)
    noise = rng.standard_normal(strip.shape, dtype=np.float32) * (0.10 if distorted else 0.03)
    return np.rint((strip + noise).clip(0, 1) * 15).astype(np.uint8)


def _sample_terms(term_count: int, rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    while True:
        digits = rng.integers(0, 10, size=term_count)
        minus = rng.random(term_count) < 0.4
        minus[0] = False
        running = np.cumsum(np.where(minus, -digits, digits))
        if running.min() >= 0 and running.max() <= LARGEST_VALUE:
            return tuple(np.where(minus, -digits, digits).tolist()), tuple(minus.tolist())


def sample_options(kind: str, value: int, rng: np.random.Generator) -> tuple[int, ...]:
    """A bound near the value, or the value among two near misses in random order."""
    near = [value + offset for offset in range(-4, 5) if offset and value + offset >= 0]
    if kind == "boolean":
        exceeded = [other for other in near if other < value]
        wanted = (
            exceeded
            if exceeded and rng.random() < 0.5
            else [other for other in near if other >= value] + [value]
        )
        return (int(rng.choice(wanted)),)
    if kind == "choice":
        options = [value, *rng.choice(near, size=2, replace=False).tolist()]
        return tuple(rng.permutation(options).tolist())
    return ()


def make_problem(
    term_count: int, kind: str, rng: np.random.Generator, held_out: bool = False, distorted: bool = False
) -> StripProblem:
    """A fresh problem; `held_out` draws with the digits that no training problem uses."""
    terms, minus = _sample_terms(term_count, rng)
    options = sample_options(kind, sum(terms), rng)
    return StripProblem(terms, minus, kind, options, draw(terms, minus, rng, held_out, distorted))


def expression(terms: tuple[int, ...] | list[int], minus: tuple[bool, ...] | list[bool]) -> str:
    """The strip in characters, `8+6-2`."""
    signs = ["", *("-" if is_minus else "+" for is_minus in minus[1:])]
    return "".join(f"{sign}{abs(term)}" for sign, term in zip(signs, terms, strict=True))


def conclude(problem: StripProblem, value: int, slip: int = 0) -> tuple[list[str], str]:
    """The step between a value and its answer (none for a number), and the answer.

    `slip` 1 or 2 draws a wrong conclusion: the other relation, or another option.
    """
    if problem.kind == "number":
        return [], str(value)
    if problem.kind == "boolean":
        bound = problem.options[0]
        relation = ">" if value > bound else "<" if value < bound else "="
        if slip:
            relation = "<" if relation == ">" else ">"
        return [f"{value}{relation}{bound}"], "yes" if relation == ">" else "no"
    nearest = min(range(3), key=lambda position: abs(problem.options[position] - value))
    letter = LETTERS[(nearest + slip) % 3]
    return [f"{value}{letter}"], letter


def write_solution(problem: StripProblem, style: str, rng: np.random.Generator) -> str:
    """A solution in one of the styles: `guess`, or a chain that is `hasty`, `careful` or `clean`."""
    if style == "guess":
        error = int(rng.integers(1, LARGEST_GUESS_ERROR + 1)) * int(rng.choice((-1, 1)))
        estimate = problem.value + (error if rng.random() < GUESS_IS_OFF else 0)
        return f"Answer:{conclude(problem, max(0, estimate))[1]}"
    faults = STYLES[style]
    terms, minus = _read(problem, faults, rng)
    steps = [f"Read:{expression(terms, minus)}"]
    running = terms[0]
    skipped = len(terms) > 2 and rng.random() < faults.last_term_skipped
    for term, is_minus in zip(terms[1 : len(terms) - skipped], minus[1:], strict=False):
        result = running + term
        if rng.random() < faults.slip_per_step:
            result += int(rng.integers(1, 4)) * int(rng.choice((-1, 1)))
        steps.append(f"{running}{'-' if is_minus else '+'}{abs(term)}={max(0, result)}")
        running = max(0, result)
    slip = int(rng.integers(1, 3)) if rng.random() < faults.slip_per_step else 0
    conclusion, answer = conclude(problem, running, slip)
    return STEP_SEPARATOR.join([*steps, *conclusion, f"Answer:{answer}"])


def _read(problem: StripProblem, faults: Style, rng: np.random.Generator) -> tuple[list[int], list[bool]]:
    """The terms as they are read in a style: perhaps one minus as a plus, perhaps one digit wrong."""
    terms, minus = list(problem.terms), list(problem.minus)
    if any(minus) and rng.random() < faults.minus_read_as_plus:
        position = int(rng.choice(np.flatnonzero(minus)))
        terms[position], minus[position] = abs(terms[position]), False
    if rng.random() < faults.slip_per_step:
        position = int(rng.integers(len(terms)))
        digit = int(rng.integers(0, 10))
        terms[position] = -digit if minus[position] else digit
    return terms, minus


def right_steps(problem: StripProblem) -> list[str]:
    """The one chain without a fault; only the clean style writes it every time."""
    return write_solution(problem, "clean", np.random.default_rng(0)).split(STEP_SEPARATOR)


def judge_steps(problem: StripProblem, text: str) -> list[bool]:
    """For each step of a response whether it is right, *and every step before it*.

    Exact, because the strip is known: a step is right if it says what the strip says at this place of the
    chain. An answer is right only at the end of a complete chain: a lucky guess and an answer reached over
    a mistake are both wrong here, which is what a process reward is to tell from a right answer.
    """
    labels, so_far = [], True
    expected = right_steps(problem)
    for position, step in enumerate(text.split(STEP_SEPARATOR)):
        so_far = so_far and position < len(expected) and step == expected[position]
        labels.append(so_far)
    return labels


def encode_png(levels: np.ndarray) -> bytes:
    """A grey PNG of four bits a pixel (pillow writes eight): level 15 reads back as 255."""
    height, width = levels.shape
    packed = (levels[:, 0::2] << 4) | levels[:, 1::2]
    rows = b"".join(b"\x00" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", width, height, 4, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    out = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    out.seek(0, io.SEEK_END)
    for name, body in chunks:
        out.write(struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)))
    return out.getvalue()
