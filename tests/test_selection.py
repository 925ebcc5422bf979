"""Selection rules on the responses of one problem, and the stage over parts."""

import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstar.config import Select
from mstar.records import Response
from mstar.response_parts import read_responses, write_responses
from mstar.selection import Candidate, choose, select_part

REWARDS = [0.2, 0.9, 0.5, 0.9, 0.05]


def kept(rewards: list[float], **section: Any) -> list[int]:
    candidates = [Candidate(place, f"text {place}", reward) for place, reward in enumerate(rewards)]
    return [one.place for one in choose(candidates, Select(**section), random.Random(0))[0]]


def test_all_keeps_every_one_whatever_its_reward() -> None:
    assert kept([0.0, 0.5], rule="all", keep_per_problem=None) == [0, 1]
    assert kept(REWARDS, rule="all", keep_per_problem=3) == [0, 1, 2]


def test_top_k_takes_the_highest_and_earlier_ones_among_equals() -> None:
    assert kept(REWARDS, rule="top_k", keep_per_problem=2) == [1, 3]
    assert kept([0.5, 0.5, 0.5], rule="top_k", keep_per_problem=2) == [0, 1]


def test_threshold_is_exclusive_and_works_beside_top_k() -> None:
    assert kept(REWARDS, rule="threshold", keep_per_problem=None, threshold=0.5) == [1, 3]
    assert kept(REWARDS, rule="top_k", keep_per_problem=4, threshold=0.2) == [1, 3, 2]
    assert kept(REWARDS, rule="top_k", threshold=0.95) == []


def test_random_k_depends_on_the_seed_alone() -> None:
    assert kept(REWARDS, rule="random_k") == kept(REWARDS, rule="random_k")
    candidates = [Candidate(place, str(place), 1.0) for place in range(5)]
    draws = {choose(candidates, Select(rule="random_k"), random.Random(s))[0][0].place for s in range(50)}
    assert draws == {0, 1, 2, 3, 4}


def test_duplicates_differ_in_more_than_white_space() -> None:
    candidates = [Candidate(0, "a b", 0.1), Candidate(1, "a  b\n", 0.9), Candidate(2, "A b", 0.5)]
    chosen, counts = choose(candidates, Select(rule="all", keep_per_problem=None), random.Random(0))
    assert [one.place for one in chosen] == [0, 2]
    assert counts.duplicates == 1


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1)), max_size=12),
    st.sampled_from(["all", "top_k", "threshold", "random_k"]),
    st.integers(1, 4),
    st.floats(0, 0.9),
)
def test_every_correct_response_is_counted_once(
    rows: list[Any], rule: Any, limit: int, threshold: float
) -> None:
    candidates = [Candidate(place, text, reward) for place, (text, reward) in enumerate(rows)]
    section = Select(rule=rule, keep_per_problem=limit, threshold=threshold)
    chosen, counts = choose(candidates, section, random.Random(1))
    assert len(chosen) == counts.kept <= limit
    assert counts.correct == counts.duplicates + counts.below_threshold + counts.not_chosen + counts.kept
    assert len({one.text for one in chosen}) == len(chosen)


def judged(problem_id: str, sample: int, text: str, correct: bool, reward: float) -> Response:
    return Response(problem_id, sample, text, 5, False, 1.0, text, correct, None, reward)


def test_a_part_keeps_only_correct_rows_in_their_order(tmp_path: Path) -> None:
    part = tmp_path / "part.parquet"
    write_responses(
        part,
        [
            judged("p1", 0, "wrong but rewarded", False, 0.9),
            judged("p1", 1, "low", True, 0.1),
            judged("p1", 2, "high", True, 0.9),
            judged("p2", 0, "high", True, 0.9),
            judged("p2", 1, "middle", True, 0.5),
            judged("p3", 0, "none", False, 0.0),
        ],
    )
    table, counts = select_part(part, Select(rule="top_k", keep_per_problem=1), random.Random(0))
    pq.write_table(table, tmp_path / "kept.parquet")
    found = list(read_responses(tmp_path / "kept.parquet"))
    assert [(one.problem_id, one.text) for one in found] == [("p1", "high"), ("p2", "high")]
    assert (counts.correct, counts.kept, counts.problems_with_kept) == (4, 2, 2)


def test_a_part_without_a_correct_response_keeps_nothing(tmp_path: Path) -> None:
    part = tmp_path / "part.parquet"
    write_responses(part, [judged("p1", 0, "x", False, 0.0)])
    assert select_part(part, Select(), random.Random(0))[0].num_rows == 0


def test_top_k_without_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="keep_per_problem is null"):
        Select(rule="top_k", keep_per_problem=None)
