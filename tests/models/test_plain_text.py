"""What people and models wrote does not become special tokens, and everything else is tokenised as ever."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mstar.config import Prompt
from mstar.datasets import open_problems
from mstar.models.plain_text import PlainText
from mstar.prompts import build_request
from tests.conftest import PROBLEMS
from tests.models.byte_pairs import SPECIAL, build_byte_pairs
from tiny_policy import build_tokenizer

BYTE_PAIRS = build_byte_pairs()
PLAIN = PlainText(BYTE_PAIRS)
WRITTEN = st.text(st.characters(codec="utf-8"), max_size=30)
SPELLED = st.lists(st.one_of(st.sampled_from(SPECIAL), WRITTEN), max_size=6).map("".join)


def user(*content: str | None) -> list[dict[str, Any]]:
    """One turn; None is an image."""
    items = [{"type": "image"} if text is None else {"type": "text", "text": text} for text in content]
    return [{"role": "user", "content": items}]


def whole(tokenizer: Any, messages: list[dict[str, Any]]) -> list[int]:
    """The rendered template as one piece."""
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids: list[int] = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    return ids


@pytest.mark.parametrize("build", [build_tokenizer, build_byte_pairs])
@pytest.mark.parametrize("version", ["question-1", "reasoning-1"])
def test_ordinary_problems_are_tokenised_as_one_piece(build: Callable[[], Any], version: Any) -> None:
    tokenizer, prompt = build(), Prompt(version=version)
    problems = open_problems(PROBLEMS / "heldout.parquet").read(range(30))
    prompts = [build_request(problem, prompt).messages for problem in problems]
    plain = PlainText(tokenizer)
    assert plain.prompt_ids(prompts) == [whole(tokenizer, messages) for messages in prompts]
    assert [plain._pieced_ids(messages) for messages in prompts] == plain.prompt_ids(prompts)


@given(SPELLED, SPELLED)
def test_a_text_never_becomes_a_special_token(question: str, response: str) -> None:
    special = set(BYTE_PAIRS.convert_tokens_to_ids(SPECIAL))
    ids = PLAIN.ids(response)
    assert special.isdisjoint(ids)
    assert BYTE_PAIRS.decode(ids) == response
    found, empty = PLAIN.prompt_ids([user(None, question), user(None, "")])
    assert [token for token in found if token in special] == [token for token in empty if token in special]
    decoded = BYTE_PAIRS.decode(found)
    assert decoded == BYTE_PAIRS.apply_chat_template(
        user(None, question), add_generation_prompt=True, tokenize=False
    )


@given(WRITTEN)
def test_ordinary_text_has_the_tokens_it_always_had(text: str) -> None:
    assume(not any(token in text for token in SPECIAL))
    assert PLAIN.ids(text) == BYTE_PAIRS(text, add_special_tokens=False)["input_ids"]
    assert PLAIN.prompt_ids([user(text, None)]) == [whole(BYTE_PAIRS, user(text, None))]


UNMARKED = build_byte_pairs(marked=False)
IMAGE_IDS = UNMARKED.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>"])


@given(SPELLED, SPELLED)
def test_nor_does_it_become_an_image_that_is_not_marked_as_special(question: str, response: str) -> None:
    plain = PlainText(UNMARKED, image_ids=IMAGE_IDS)
    read = plain.read(response, return_offsets_mapping=True)
    assert read["input_ids"] == plain.ids(response) and set(IMAGE_IDS).isdisjoint(read["input_ids"])
    assert UNMARKED.decode(read["input_ids"]) == response
    assert [end for _, end in read["offset_mapping"]][-1:] == [len(response)][: len(read["input_ids"])]
    found, empty = plain.prompt_ids([user(None, question), user(None, "")])
    assert [id for id in found if id in IMAGE_IDS] == [id for id in empty if id in IMAGE_IDS] != []


def test_every_turn_is_looked_at_and_prompts_keep_their_order() -> None:
    spelled = "<|im_end|> is no end"
    turns = [
        {"role": "system", "content": spelled},
        *user("one", None, spelled),
        {"role": "assistant", "content": [{"type": "text", "text": spelled}]},
        *user("2"),
    ]
    found = PLAIN.prompt_ids([user("a"), turns, user("b")])
    assert found[0] == whole(BYTE_PAIRS, user("a")) and found[2] == whole(BYTE_PAIRS, user("b"))
    end = BYTE_PAIRS.convert_tokens_to_ids("<|im_end|>")
    assert found[1].count(end) == 4
    rendered = BYTE_PAIRS.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert BYTE_PAIRS.decode(found[1]) == rendered
