"""Gemma 3: layers that see a window of the text, and images whose tokens see one another both ways."""

from collections.abc import Callable
from pathlib import Path

import torch

from mstar.config import Config
from mstar.engines.transformers import TransformersEngine
from mstar.models import collate
from tests.engines.asking import GREEDY, MIXED, ask, generate_with_transformers, problem, texts
from tests.tiny_configs import WINDOW
from tests.tiny_models import save_tiny_model


def test_gemma3_sees_images_whole_and_texts_through_its_window(
    make_config: Callable[..., Config], tmp_path: Path
) -> None:
    """Prompts and responses are longer than the window, one prompt's image lies before it."""
    folder = save_tiny_model("gemma3", tmp_path / "model")
    engine = TransformersEngine(folder, make_config())
    requests = [*MIXED, ask(problem(7, 2, question="1+2+3+4+5+6+7+8+9+10?"))]
    lengths = [len(row.ids) for row in engine.encoder.encode(requests)]
    assert min(lengths) < WINDOW < max(lengths) - 8
    assert texts(engine, requests, GREEDY) == generate_with_transformers(engine, requests)
    batch = collate(engine.encoder.encode(requests[:1]), engine.encoder, "left", engine.model.device)
    both_ways = engine.model(**batch).logits
    del batch["token_type_ids"]
    assert not torch.allclose(both_ways, engine.model(**batch).logits, atol=1e-3)
