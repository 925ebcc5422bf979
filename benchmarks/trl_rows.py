"""Our rows as TRL takes them: tokens of texts, or messages with images and a processor for both."""

from collections.abc import Sequence
from copy import copy
from typing import Any

from mstar.models import Encoder
from mstar.trainers.rows import LessonRows, Row


def trl_tokens(read: Sequence[Row]) -> Any:
    from datasets import Dataset

    ids = [row.encoded.ids for row in read]
    learned = [[-100] * (len(row.encoded.ids) - row.learned) for row in read]
    labels = [masked + own[len(masked) :] for masked, own in zip(learned, ids, strict=True)]
    return Dataset.from_dict({"input_ids": ids, "labels": labels})


def trl_images(rows: LessonRows) -> Any:
    from datasets import Dataset

    tokenizer = rows.encoder.tokenizer
    requests = [rows.held[number][0] for number in rows.numbers]
    return Dataset.from_dict(
        {
            "prompt": [
                tokenizer.apply_chat_template(one.messages, add_generation_prompt=True, tokenize=False)
                for one in requests
            ],
            "completion": [text + tokenizer.eos_token for text in rows.texts],
            "images": [rows.encoder.decode_images(one) for one in requests],
        }
    )


def trl_processor(encoder: Encoder) -> Any:
    import transformers

    video = transformers.Qwen3VLVideoProcessor()
    images = copy(encoder.image_processor)
    for name, value in encoder.family.processor_settings.items():
        setattr(images, name, value)
    return transformers.Qwen3VLProcessor(
        images, encoder.tokenizer, video, chat_template=encoder.tokenizer.chat_template
    )
