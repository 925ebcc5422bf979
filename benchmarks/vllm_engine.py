"""Responses per second of the engine `vllm` against vLLM's own `LLM.generate` with the same requests at once.

Both sides go from the quick start's problems to texts with the same vLLM: images are decoded, 8 responses
sampled at temperature 1 to each of 512 problems, with the same seeds and the same limits. Ours are in parts
of 64 problems, as a stage asks for them. vLLM's caches are emptied before each turn.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pairs import compare

from mstar.config_file import load_config
from mstar.datasets import open_problems
from mstar.engines import Chunk, Sampling
from mstar.engines.vllm import VllmEngine, parameters
from mstar.prompts import Request, build_request

QUICKSTART = Path(__file__).parent.parent / "examples" / "quickstart"
PROBLEMS, PART, SAMPLES, PAIRS = 512, 64, 8, 9
BAR = 0.95


def main() -> None:
    config = load_config(QUICKSTART / "quickstart.yaml", ["generate.engine=vllm", *sys.argv[1:]])
    problems = open_problems(config.data.train).read(range(PROBLEMS))
    sampling = Sampling(SAMPLES, 1.0, 1.0, config.generate.max_tokens)

    def requests() -> list[Request]:
        return [build_request(problem, config.prompt, seed) for seed, problem in enumerate(problems)]

    with VllmEngine(Path(config.model.path), config) as engine:
        texts: dict[str, list[str]] = {}
        ratios = compare(
            ("mstar", "LLM.generate"),
            (
                lambda: texts.update(ours=in_parts(engine, requests(), sampling)),
                lambda: texts.update(theirs=at_once(engine, requests(), sampling)),
            ),
            PAIRS,
        )
    same = sum(one == other for one, other in zip(texts["ours"], texts["theirs"], strict=True))
    print(f"at {PROBLEMS * SAMPLES} responses a side, of which {same} are the same")
    if sorted(ratios)[PAIRS // 2] < BAR:
        sys.exit(f"the engine should reach {BAR} of vLLM's own speed")


def forget(engine: VllmEngine) -> None:
    """Empty vLLM's caches of prompts and of images."""
    engine.process.llm.reset_prefix_cache()
    engine.process.llm.reset_mm_cache()


def in_parts(engine: VllmEngine, requests: list[Request], sampling: Sampling) -> list[str]:
    forget(engine)

    def chunks() -> Iterator[Chunk]:
        for start in range(0, len(requests), PART):
            for request in requests[start : start + PART]:
                engine.check(request)  # as a stage does
            yield Chunk(requests[start : start + PART], sampling)

    return [one.text for part in engine.generate(chunks()) for own in part for one in own]


def at_once(engine: VllmEngine, requests: list[Request], sampling: Sampling) -> list[str]:
    """What a script without mstar would do, with our sampling parameters; it reads text as it comes."""
    forget(engine)
    ids = engine.encoder.plain_text.prompt_ids([request.messages for request in requests])
    prompts: list[Any] = [
        {"prompt_token_ids": own, "multi_modal_data": {"image": engine.encoder.decode_images(request)}}
        for own, request in zip(ids, requests, strict=True)
    ]
    params = [parameters(request, sampling, engine.ends) for request in requests]
    for one in params:
        one.detokenize = True
    outputs = engine.process.llm.generate(prompts, params, use_tqdm=False)
    return [one.text for output in outputs for one in output.outputs]


if __name__ == "__main__":
    main()
