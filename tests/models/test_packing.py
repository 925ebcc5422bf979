"""Packed rows: every family learns from them what it learns from padded ones; no sequence sees another."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mstar.config import Images, Model
from mstar.errors import UserError
from mstar.models import FAMILIES, Encoder, load_model, prepare_for_packs
from mstar.trainers.losses import response_loss
from mstar.trainers.rows import IGNORED, MicroBatch, Row, learn_response, pack_rows, pad_rows
from tests.engines.asking import MIXED, QUESTION
from tests.tiny_models import save_tiny_model

TEXTS = ["Answer:12", "Read:8+6-2;8+6=14;14-2=12;Answer:12", "1", "Read:3+4;3+4=7;Answer:7", "Answer:b"]


def open_tiny(folder: Path, model_type: str, /, **text: Any) -> tuple[Encoder, Any]:
    save_tiny_model(model_type, folder, **text)
    return Encoder(folder, Images(), QUESTION), load_model(folder, Model(path=str(folder)))


def learn(encoder: Encoder, texts: Sequence[str] = TEXTS) -> list[Row]:
    """Prompts with no, one, two and three images, and a response to each."""
    prompts, responses = encoder.encode(MIXED), encoder.encode_responses(texts)
    return [learn_response(*row) for row in zip(MIXED, prompts, responses, strict=True)]


def gradients(model: Any, batch: MicroBatch, learned: int) -> tuple[float, Tensor]:
    model.zero_grad()
    loss = response_loss(model, batch.inputs, batch.labels) / learned
    loss.backward()
    return float(loss.detach()), torch.cat(
        [one.grad.flatten() for one in model.parameters() if one.grad is not None]
    )


def losses_of_each(model: Any, rows: Sequence[Row], encoder: Encoder) -> list[float]:
    """Of each response in one pack of them all."""
    batch = pack_rows(rows, encoder)
    with torch.inference_mode():
        hidden = model.model(**batch.inputs, use_cache=False).last_hidden_state
        logits = model.get_output_embeddings()(hidden)[0]
    of_tokens = functional.cross_entropy(logits, batch.labels[0], reduction="none", ignore_index=IGNORED)
    return [float(one.sum()) for one in of_tokens.split([len(row.labels) for row in rows])]


@pytest.mark.parametrize("attention", ["ours", "sdpa", "eager"])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_packed_rows_teach_what_padded_ones_do(model_type: str, attention: str, tmp_path: Path) -> None:
    encoder, model = open_tiny(tmp_path, model_type)
    rows = learn(encoder)
    learned = sum(row.learned for row in rows)
    padded, packed = pad_rows(rows, encoder), pack_rows(rows, encoder)
    assert packed.labels.shape == (1, packed.total_tokens) == (1, padded.total_tokens - padded.padded_tokens)
    assert packed.padded_tokens == 0 < padded.padded_tokens
    loss, expected = gradients(model, padded, learned)
    if attention == "ours":
        prepare_for_packs(model, encoder)
        attends = "masked" if model_type == "gemma3" else "causal"
        assert attends in model.config.get_text_config()._attn_implementation
    else:
        model.set_attn_implementation(attention)
    packed_loss, found = gradients(model, packed, learned)
    assert packed_loss == pytest.approx(loss, rel=1e-5)
    assert float(expected.norm()) > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_response_in_a_pack_sees_no_other(model_type: str, tmp_path: Path) -> None:
    encoder, model = open_tiny(tmp_path, model_type)
    prepare_for_packs(model, encoder)
    before = losses_of_each(model, learn(encoder), encoder)
    changed = losses_of_each(model, learn(encoder, [*TEXTS[:2], "9;8;7;6", *TEXTS[3:]]), encoder)
    assert changed[2] != pytest.approx(before[2], rel=0.1)
    assert [*changed[:2], *changed[3:]] == pytest.approx([*before[:2], *before[3:]], rel=1e-5)
    alone = [losses_of_each(model, [row], encoder)[0] for row in learn(encoder)]
    assert before == pytest.approx(alone, rel=1e-5)


def test_a_text_model_with_convolutions_is_refused(tmp_path: Path) -> None:
    layers = {"layer_types": ["conv", "full_attention"], "model_type": "lfm2"}
    encoder, model = open_tiny(tmp_path, "internvl", **layers)
    with pytest.raises(UserError, match=r"train\.packing is true, but .* \(lfm2\) .* set train\.packing"):
        prepare_for_packs(model, encoder)
