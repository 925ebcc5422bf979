"""Near images, and problems that stand in training and test sets."""

import io
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from mstar.datasets.contamination import HeldOut, Match, Picture, plain
from mstar.datasets.perceptual import HASH_BYTES, MOST_BITS, NearImages, perceptual_hash, rows_of
from mstar.records import ImageSource, Problem


def drawing(seed: int) -> Image.Image:
    """A labelled polygon, as in textbooks."""
    chance = random.Random(seed)
    image = Image.new("RGB", (480, 360), "white")
    corners = [(chance.randrange(40, 440), chance.randrange(40, 320)) for _ in range(4)]
    draw = ImageDraw.Draw(image)
    draw.polygon(corners, outline="black", width=2)
    for corner, letter in zip(corners, "ABCD", strict=True):
        draw.text(corner, letter, fill="black")
    return image


def encoded(image: Image.Image, kind: str, **how: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return Image.open(io.BytesIO(file.getvalue()))


def distance(one: bytes, other: bytes) -> int:
    return int(np.bitwise_count(rows_of([one]) ^ rows_of([other])).sum())


@pytest.mark.parametrize(
    "change",
    [
        lambda image: encoded(image, "JPEG", quality=60),
        lambda image: encoded(image.convert("P"), "GIF"),
        lambda image: image.convert("L"),
        lambda image: image.resize((960, 720)),
    ],
    ids=["jpeg", "gif", "gray", "larger"],
)
def test_the_same_picture_is_near_and_others_are_not(change: Callable[[Image.Image], Image.Image]):
    hashes = [perceptual_hash(drawing(seed)) for seed in range(20)]
    changed = [perceptual_hash(change(drawing(seed))) for seed in range(20)]
    assert NearImages(hashes).search(changed) == [{place} for place in range(20)]


def test_blank_images_are_alike_whatever_their_colour():
    white, red = (perceptual_hash(Image.new("RGB", (50, 20), colour)) for colour in ("white", "red"))
    assert white == red == bytes(HASH_BYTES)


@given(st.integers(0, 2**32), st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_no_near_image_is_missed(seed: int, count: int):
    """Against comparing all with all, on hashes that lie close together."""
    chance = np.random.default_rng(seed)
    centre = chance.integers(0, 2, HASH_BYTES * 8, np.uint8)
    flips = [(chance.random(HASH_BYTES * 8) < rate).astype(np.uint8) for rate in chance.random(count) * 0.1]
    hashes = [np.packbits(centre ^ flip).tobytes() for flip in flips]
    found = NearImages(hashes).search(hashes)
    for one, near in zip(hashes, found, strict=True):
        assert near == {place for place, other in enumerate(hashes) if distance(one, other) <= MOST_BITS}


def test_many_images_that_look_the_same_are_compared_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr("mstar.datasets.perceptual.COMPARED_AT_ONCE", 7)
    hashes = [bytes(HASH_BYTES)] * 30
    assert NearImages(hashes).search(hashes[:3]) == [set(range(30))] * 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Find  x.", "find x"),
        ("What is $AB$?", "what is AB"),
        ("How many “red” balls?", 'How many "red" balls ?'),
        ("½ of it", "1⁄2 of it"),
    ],
)
def test_questions_in_the_same_words(one: str, other: str):
    assert plain(one) == plain(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("3.5 cm", "35 cm"), ("a + b", "a - b"), ("x < 2", "x > 2"), ("angle A", "angle B"), ("5%", "5")],
)
def test_questions_that_differ_in_little(one: str, other: str):
    assert plain(one) != plain(other)


def problem(id: str, question: str, images: int = 1, choices: tuple[str, ...] = ()) -> Problem:
    kind = "choice" if choices else "number"
    return Problem(id, question, (ImageSource(data=b"x"),) * images, None, kind, choices)


def picture(seed: int, name: bytes = b"") -> Picture:
    return Picture(name or bytes([seed]), perceptual_hash(drawing(seed)))


def test_kinds_of_matches():
    tests = HeldOut()
    tests.add("heldout", problem("h1", "Find x."), [picture(1)])
    tests.add("heldout", problem("h2", "Find y."), [picture(1)])
    tests.add("other", problem("o1", "Find x."), [picture(2)])
    tests.add("other", problem("o2", "Both?", 2), [picture(1), picture(2)])
    search = tests.search()
    assert search.matches(problem("a", "find X"), [picture(1)]) == [
        Match("exact", "heldout", "h1"),
        Match("image", "other", "o2"),
    ]
    again = Picture(b"other bytes", perceptual_hash(encoded(drawing(1), "JPEG", quality=70)))
    assert search.matches(problem("b", "Find x."), [again])[0] == Match("near", "heldout", "h1")
    assert search.matches(problem("c", "Find z."), [picture(2)]) == [Match("image", "other", "o1")]
    assert search.matches(problem("d", "Find x."), [picture(3)]) == []
    assert search.matches(problem("e", "Both?", 2), [picture(1), picture(2)])[0].kind == "exact"
    assert search.matches(problem("f", "Both?", 2), [picture(2), picture(1)])[0].kind == "image"
    assert search.matches(problem("g", "Find x.", 0), []) == []


def test_without_images_the_choices_count():
    tests = HeldOut()
    tests.add("t", problem("t1", "Which is a solid?", 0, ("ice", "water")), [])
    search = tests.search()
    assert search.matches(problem("a", "Which is a solid?", 0, ("iron", "oil")), []) == []
    assert search.matches(problem("b", "which is a SOLID", 0, ("water", "ice")), [])[0].kind == "exact"


def test_without_test_problems_nothing_is_found():
    assert HeldOut().search().matches(problem("a", "Find x."), [picture(1)]) == []
