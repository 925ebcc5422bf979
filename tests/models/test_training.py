"""What a trainer needs of every family: rows that a forward takes, gradients for every part."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from mstar.config import Config, Images
from mstar.models import FAMILIES, Encoder, collate, load_model, part_of
from mstar.trainers.losses import response_loss
from mstar.trainers.rows import IGNORED, Row, learn_response, pad_rows
from tests.engines.asking import MIXED, QUESTION
from tests.tiny_models import save_tiny_model

MakeConfig = Callable[..., Config]


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_response_is_learned_whatever_it_spells(
    model_type: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    folder = save_tiny_model(model_type, tmp_path / "model")
    encoder, model = Encoder(folder, Images(), QUESTION), load_model(folder, make_config().model)
    image = encoder.tokenizer.convert_ids_to_tokens(encoder.family.image_id)
    response = encoder.encode_responses([f"1{image}2"])[0]
    rows = [prompt.followed_by(response) for prompt in encoder.encode(MIXED)]
    batch = collate(rows, encoder, "right", model.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(5):
        logits = model.get_output_embeddings()(model.model(**batch, use_cache=False).last_hidden_state)
        kept = torch.cat(
            [logits[at, len(row.ids) - len(response) - 1 : len(row.ids) - 1] for at, row in enumerate(rows)]
        )
        loss = functional.cross_entropy(kept, torch.tensor(response * len(rows)))
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert losses[-1] < losses[0]
    learned = {
        part_of(name, encoder.family) for name, one in model.named_parameters() if one.grad is not None
    }
    assert learned == {"vision", "projector", "text"}


@pytest.mark.parametrize("model_type", FAMILIES)
def test_the_loss_is_that_of_a_plain_forward(
    model_type: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    """Ours of a padded batch; that of transformers of one row after the other, without positions of ours."""
    folder = save_tiny_model(model_type, tmp_path / "model")
    encoder, model = Encoder(folder, Images(), QUESTION), load_model(folder, make_config().model)
    prompts, response = encoder.encode(MIXED), encoder.encode_responses(["1+2=3;Answer:3"])[0]
    rows = [learn_response(request, prompt, response) for request, prompt in zip(MIXED, prompts, strict=True)]
    batch = pad_rows(rows, encoder)
    with torch.inference_mode():
        ours = response_loss(model, batch.inputs, batch.labels)
        plain = sum(loss_of_transformers(model, encoder, row) for row in rows)
    assert float(ours) == pytest.approx(plain, rel=1e-5)


def loss_of_transformers(model: Any, encoder: Encoder, row: Row) -> float:
    """Summed over the row's labels."""
    alone = pad_rows([row], encoder).inputs
    del alone["position_ids"]
    model.model.rope_deltas = None
    labels = alone["input_ids"].clone()
    labels[0, : -row.learned] = IGNORED
    return float(model(**alone, labels=labels, use_cache=False).loss) * row.learned
