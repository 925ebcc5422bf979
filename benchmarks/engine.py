"""Responses per second of the `transformers` engine against `model.generate(num_return_sequences=n)`.

Both sides go from the quick start's problems to texts: images are decoded, prompts encoded, 8 responses
sampled at temperature 1 to each of 128 problems in one batch. Greedy texts of both sides must be the same.
Every round asks anew, so that nothing is remembered from the one before.
"""

import sys
from pathlib import Path

from pairs import compare
from torch import get_num_threads, inference_mode

from mstar.config_file import load_config
from mstar.datasets import open_problems
from mstar.engines import Chunk, Sampling
from mstar.engines.transformers import TransformersEngine
from mstar.models import collate
from mstar.prompts import Request, build_request

QUICKSTART = Path(__file__).parent.parent / "examples" / "quickstart"
PROBLEMS, SAMPLES, PAIRS = 128, 8, 5


def main() -> None:
    config = load_config(QUICKSTART / "quickstart.yaml", sys.argv[1:])
    engine = TransformersEngine(Path(config.model.path), config)
    problems = open_problems(config.data.train).read(range(PROBLEMS))
    max_tokens = config.generate.max_tokens

    def requests() -> list[Request]:
        return [build_request(problem, config.prompt, seed) for seed, problem in enumerate(problems)]

    def with_engine(sampling: Sampling) -> list[str]:
        found = next(engine.generate([Chunk(requests(), sampling)]))
        return [one.text for own in found for one in own]

    greedy = with_engine(Sampling(1, 0.0, 1.0, max_tokens))
    theirs = with_transformers(engine, requests(), 1, max_tokens)
    same = sum(ours == other for ours, other in zip(greedy, theirs, strict=True))
    print(f"greedy texts equal on {same} of {PROBLEMS}; torch threads: {get_num_threads()}")

    sampling = Sampling(SAMPLES, 1.0, 1.0, max_tokens)
    ratios = compare(
        ("mstar", "model.generate"),
        (
            lambda: with_engine(sampling),
            lambda: with_transformers(engine, requests(), SAMPLES, max_tokens),
        ),
        PAIRS,
    )
    print(f"at {PROBLEMS * SAMPLES} responses a side")
    if same < PROBLEMS or sorted(ratios)[PAIRS // 2] < 3:
        sys.exit("the engine should give the same greedy texts, and sample at least 3 times as fast")


@inference_mode()
def with_transformers(
    engine: TransformersEngine, requests: list[Request], samples: int, max_tokens: int
) -> list[str]:
    """What a script without mstar would do, with the same tokens banned."""
    tokenizer = engine.encoder.tokenizer
    rows = engine.encoder.encode(requests)
    batch = collate(rows, engine.encoder, "left", engine.model.device)
    del batch["position_ids"]
    how = (
        {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "num_return_sequences": samples}
        if samples > 1
        else {"do_sample": False}
    )
    engine.model.model.rope_deltas = None
    ids = engine.model.generate(
        **batch, **how, max_new_tokens=max_tokens, suppress_tokens=engine.banned_ids.tolist()
    )
    texts: list[str] = tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


if __name__ == "__main__":
    main()
