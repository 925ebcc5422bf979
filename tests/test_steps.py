"""Steps and their aggregates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstar.steps import aggregate_steps, step_ends


@pytest.mark.parametrize(
    "text, pieces",
    [
        ("Read:8+6;8+6=14;Answer:14", ["Read:8+6;", "8+6=14;", "Answer:14"]),
        ("a;b;", ["a;", "b;"]),
        ("a;;b", ["a;", ";b"]),
        ("Answer:3", ["Answer:3"]),
        ("", [""]),
        (" ; a", [" ; a"]),
    ],
)
def test_pieces(text: str, pieces: list[str]) -> None:
    ends = step_ends(text, ";")
    starts = [0, *ends[:-1]]
    assert [text[start:end] for start, end in zip(starts, ends, strict=True)] == pieces


@given(st.text(alphabet="ab; \n", max_size=30))
def test_steps_cover_the_text_but_for_trailing_blanks(text: str) -> None:
    ends = step_ends(text, ";")
    assert ends == sorted(set(ends))
    assert not text[ends[-1] :].strip(" \n;")


def test_aggregates() -> None:
    scores = [0.5, 0.25, 1.0]
    assert aggregate_steps(scores, "min") == 0.25
    assert aggregate_steps(scores, "mean") == pytest.approx(0.58333333)
    assert aggregate_steps(scores, "product") == 0.125
    assert aggregate_steps(scores, "last") == 1.0
    assert aggregate_steps([], "min") == 0.0
