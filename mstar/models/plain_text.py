"""Tokens of what people and models wrote, which can spell special tokens but must not become them.

`<|image_pad|>` in a question or a response is text. Most texts spell no special token and are tokenised as
they always were, a prompt as one piece with its chat template. In the others the tokenizer is told to split
special tokens, and a prompt is put together from the template's own pieces and the texts between them. What
stands for an image and is not marked as special in the tokenizer (LLaVA's `<image>`) cannot be split like
that: there the text is cut, and both sides are tokenised.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from jinja2 import TemplateError

PLACEHOLDER = "\ue0b5{}\ue0b6"
"""Stands for a text in a rendered template: private-use characters that no template looks for."""
PLACEHOLDERS = re.compile(PLACEHOLDER.format(r"(\d+)"))

Messages = Sequence[dict[str, Any]]


class PlainText:
    """Tokenises texts and prompts with one tokenizer."""

    def __init__(
        self,
        tokenizer: Any,
        placeholder: str = "",
        frame: tuple[str, str] = ("", ""),
        image_ids: Collection[int] = (),
    ) -> None:
        """In a prompt, `frame` stands before and after each special token `placeholder` of the template.
        `image_ids` are the tokens that must not be spelled even where they are not marked as special.
        """
        self.tokenizer = tokenizer
        self.placeholder, self.framed = placeholder, placeholder.join(frame)
        added = tokenizer.added_tokens_decoder
        special = {str(token) for token in added.values() if token.special}
        unmarked = {str(token) for id, token in added.items() if id in image_ids} - special
        self._special, self._all = re.compile(any_of(special)), re.compile(any_of(special | unmarked))
        self._unmarked = re.compile(f"(?={any_of(unmarked)})")

    def ids(self, text: str) -> list[int]:
        """The tokens of a text, none of them special unless the text cannot be written otherwise."""
        return list(self.read(text)["input_ids"])

    def ids_of_each(self, texts: Sequence[str]) -> list[list[int]]:
        """`ids` of each text; all at once, which is faster, where none spells a special token."""
        if any(self._all.search(text) for text in texts):
            return [self.ids(text) for text in texts]
        return self._ids_at_once(texts)

    def read(self, text: str, **options: Any) -> Any:
        """What the tokenizer gives for a text: `input_ids`, and `offset_mapping` where its `options` ask."""
        split = self._special.search(text) is not None
        cuts = [0, *(match.start() + 1 for match in self._unmarked.finditer(text)), len(text)]
        found: dict[str, list[Any]] = {"input_ids": [], "offset_mapping": []}
        for start, end in pairwise(cuts):
            piece = self.tokenizer(
                text[start:end], add_special_tokens=False, split_special_tokens=split, **options
            )
            found["input_ids"] += piece["input_ids"]
            offsets = piece.get("offset_mapping", ())
            found["offset_mapping"] += [(first + start, last + start) for first, last in offsets]
        return found

    def prompt_ids(self, prompts: Sequence[Messages]) -> list[list[int]]:
        """The tokens of each prompt up to where its response begins."""
        spelled = [any(self._all.search(text) for text in texts(messages)) for messages in prompts]
        whole = [self._render(messages) for messages, is_spelled in zip(prompts, spelled, strict=True)
                 if not is_spelled]  # fmt: skip
        found = iter(self._ids_at_once(whole))
        return [
            self._pieced_ids(messages) if is_spelled else next(found)
            for messages, is_spelled in zip(prompts, spelled, strict=True)
        ]

    def end_of_turn(self) -> int:
        """The token that the chat template writes after a response; the tokenizer's end token where that is
        nothing special, or the template takes no response.
        """
        turns = with_placeholders([_said("user"), _said("assistant")])
        try:
            rendered = self.tokenizer.apply_chat_template(turns, tokenize=False)
        except (TemplateError, TypeError):
            rendered = ""
        after = self._special.match(rendered.partition(PLACEHOLDER.format(1))[2])
        end = self.tokenizer.convert_tokens_to_ids(after[0]) if after else self.tokenizer.eos_token_id
        return int(end)

    def _render(self, messages: Messages) -> str:
        rendered = self.tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=False
        )
        if self.framed == self.placeholder:
            return str(rendered)
        return str(rendered).replace(self.placeholder, self.framed)

    def _ids_at_once(self, rendered: Sequence[str]) -> list[list[int]]:
        if not rendered:
            return []
        ids: list[list[int]] = self.tokenizer(
            list(rendered), add_special_tokens=False, split_special_tokens=False
        )["input_ids"]
        return ids

    def _pieced_ids(self, messages: Messages) -> list[int]:
        """The template with placeholders, cut at them: its pieces hold special tokens, the texts do not."""
        written = list(texts(messages))
        pieces = PLACEHOLDERS.split(self._render(with_placeholders(messages)))
        templates = iter(self._ids_at_once(pieces[::2]))
        ids = list(next(templates))
        for number, template in zip(pieces[1::2], templates, strict=True):
            ids += [*self.ids(written[int(number)]), *template]
        return ids


def any_of(tokens: Iterable[str]) -> str:
    """A pattern for the longest of these; for nothing where there are none."""
    return "|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or r"(?!)"


def _said(role: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": "."}]}


def texts(messages: Messages) -> Iterator[str]:
    """All that people or models wrote in the messages, in order."""
    for message in messages:
        content = message["content"]
        if isinstance(content, str):
            yield content
        else:
            yield from (item["text"] for item in content if item["type"] == "text")


def with_placeholders(messages: Messages) -> list[dict[str, Any]]:
    """The messages with a numbered placeholder for each of their texts."""
    number = 0

    def next_placeholder() -> str:
        nonlocal number
        number += 1
        return PLACEHOLDER.format(number - 1)

    return [
        {
            **message,
            "content": next_placeholder()
            if isinstance(message["content"], str)
            else [
                {**item, "text": next_placeholder()} if item["type"] == "text" else item
                for item in message["content"]
            ],
        }
        for message in messages
    ]
