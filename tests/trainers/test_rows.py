"""A lesson as rows: what is learned, and where it is read from."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mstar.errors import UserError
from mstar.records import Response, from_json, to_json
from mstar.response_parts import write_responses
from mstar.trainers import Lesson
from mstar.trainers.policy import open_policy
from mstar.trainers.rows import LessonRows, pad_rows, together
from tests.trainers.conftest import TEXTS, MakeConfig, MakeLesson


def test_the_response_and_its_end_are_learned_and_nothing_else(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path
) -> None:
    encoder = open_policy(tiny, make_config()).encoder
    rows = LessonRows(make_lesson(tiny), encoder).read(range(4))
    batch = pad_rows(rows, encoder)
    for index, text in enumerate(TEXTS):
        learned = batch.labels[index][batch.labels[index] != -100].tolist()
        assert learned == encoder.encode_responses([text])[0]
        assert rows[index].learned == len(learned)
        places = (batch.labels[index] != -100).nonzero()[:, 0]
        assert torch.equal(batch.inputs["input_ids"][index, places + 1], batch.labels[index, places])
    assert encoder.tokenizer.eos_token_id == learned[-1]
    assert batch.padded_tokens == int((batch.inputs["attention_mask"] == 0).sum()) > 0
    assert batch.total_tokens == batch.inputs["input_ids"].numel()


def test_prompts_that_do_not_fit_are_encoded_when_needed(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their pixels, when the rows are padded."""
    encoder = open_policy(tiny, make_config()).encoder
    held = LessonRows(make_lesson(tiny), encoder)
    monkeypatch.setattr("mstar.trainers.rows.HELD_BYTES", 0)
    needed = LessonRows(make_lesson(tiny), encoder)
    one, other = held.read([3, 1, 3]), needed.read([3, 1, 3])
    assert (len(held.held), len(needed.held)) == (2, 0)
    assert [row.encoded.is_whole for row in (*one, *other)] == [True] * 3 + [False] * 3
    whole, late = pad_rows(one, encoder), pad_rows(other, encoder)
    assert torch.equal(whole.labels, late.labels)
    assert whole.inputs.keys() == late.inputs.keys() >= {"pixel_values"}
    assert all(torch.equal(whole.inputs[name], late.inputs[name]) for name in whole.inputs)


def test_prompts_without_images_need_room_too(
    make_config: MakeConfig, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, total = open_policy(tiny, make_config()).encoder, 300
    questions = [{"id": f"p{number}", "question": f"3 + {number}", "answer": "7"} for number in range(total)]
    problems, selected = tmp_path / "train.jsonl", tmp_path / "selected.parquet"
    problems.write_text("".join(json.dumps({**one, "answer_type": "number"}) + "\n" for one in questions))
    write_responses(selected, [Response(f"p{n}", 0, TEXTS[0], 1, False, 1.0) for n in range(total)])
    lesson = Lesson(tiny, False, None, str(problems), (selected,), tuple(range(total)), 0)
    whole = LessonRows(lesson, encoder)
    monkeypatch.setattr("mstar.trainers.rows.HELD_BYTES", 1 << 20)
    bounded = LessonRows(lesson, encoder)
    every = [[row.encoded.ids for row in rows.read(range(total))] for rows in (whole, bounded)]
    assert every[0] == every[1]
    assert len(whole.held) == total > len(bounded.held) > 0


def test_small_batches_are_read_together_and_a_large_one_alone() -> None:
    half, large = [0] * 4, [0] * 9
    assert [len(some) for some in together([half, half, half, large, half], 8)] == [2, 1, 1, 1]
    assert [len(some) for some in together([large, [1], [2]], 8)] == [1, 2]
    assert [len(some) for some in together([half, [1], [2]], 1)] == [1, 1, 1]
    assert list(together([], 8)) == []


def test_a_response_goes_with_the_row_that_the_lesson_names(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path
) -> None:
    encoder = open_policy(tiny, make_config()).encoder
    lesson = make_lesson(tiny, 8)
    straight = LessonRows(lesson, encoder).read(range(8))
    turned = LessonRows(replace(lesson, rows=lesson.rows[::-1]), encoder).read(range(8))
    for place, row in enumerate(turned):
        response = encoder.encode_responses([TEXTS[place % len(TEXTS)]])[0]
        assert row.encoded.ids[-len(response) :] == response
        other = straight[7 - place].encoded
        assert all(torch.equal(a, b) for a, b in zip(row.encoded.pixels, other.pixels, strict=True))


def test_files_that_changed_are_refused(make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path) -> None:
    encoder = open_policy(tiny, make_config()).encoder
    lesson = make_lesson(tiny)
    with pytest.raises(UserError, match="hold 12 responses, the lesson was made for 11"):
        LessonRows(replace(lesson, rows=lesson.rows[1:]), encoder)


def test_a_lesson_is_plain_data(make_lesson: MakeLesson, tiny: Path) -> None:
    lesson = make_lesson(tiny, interrupted=tiny)
    assert from_json(Lesson, to_json(lesson)) == lesson
