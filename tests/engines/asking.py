"""Problems with drawn images, and asking an engine about them."""

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO

import numpy as np
from PIL import Image

from mstar.config import Prompt
from mstar.datasets import open_problems
from mstar.engines import Chunk, Engine, Generated, Sampling
from mstar.engines.transformers import TransformersEngine
from mstar.models import collate
from mstar.prompts import Request, build_request
from mstar.records import ImageSource, Problem
from tests.conftest import PROBLEMS

GREEDY = Sampling(samples_per_problem=1, temperature=0.0, top_p=1.0, max_tokens=60)
"""Long enough for the quick start's model to end."""
SHORT = Sampling(samples_per_problem=1, temperature=0.0, top_p=1.0, max_tokens=16)
WARM = Sampling(samples_per_problem=4, temperature=1.0, top_p=1.0, max_tokens=60)
QUESTION = Prompt(version="question-1", step_separator=";")


def picture(width: int, height: int, seed: int = 0) -> ImageSource:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return ImageSource(data=file.getvalue())


def problem(number: int, *cells: int, question: str = "value?") -> Problem:
    """With one strip of so many cells for each of `cells`."""
    images = tuple(picture(28 * count, 28, number + place) for place, count in enumerate(cells))
    return Problem(f"p{number}", question, images, "1", "number")


def ask(problem: Problem, prefix: str = "") -> Request:
    """The problem's request; its number is its seed."""
    return build_request(problem, QUESTION, int(problem.id[1:]), prefix)


def with_image(width: int, height: int) -> Request:
    """Problem 1 with one image of that size."""
    return ask(replace(problem(1), images=(picture(width, height),)))


MIXED = [
    ask(problem(0, 5)),
    ask(problem(1)),
    ask(problem(2, 3, 9)),
    ask(problem(3, 1, 2, 3)),
    ask(problem(4, question="> 12? and more")),
]


def heldout(count: int) -> list[Request]:
    problems = open_problems(PROBLEMS / "heldout.parquet").read(range(count))
    return [build_request(problem, QUESTION, seed) for seed, problem in enumerate(problems)]


def generate(engine: Engine, requests: Sequence[Request], sampling: Sampling) -> list[list[Generated]]:
    """The samples of one chunk."""
    return next(engine.generate([Chunk(requests, sampling)]))


def texts(engine: Engine, requests: Sequence[Request], sampling: Sampling) -> list[list[str]]:
    return [[one.text for one in own] for own in generate(engine, requests, sampling)]


def generate_with_transformers(
    engine: TransformersEngine, requests: Sequence[Request], max_tokens: int = 60
) -> list[list[str]]:
    """Greedy texts of `model.generate`, one request at a time so that nothing is padded."""
    found, tokenizer = [], engine.encoder.tokenizer
    for one in requests:
        batch = collate(engine.encoder.encode([one]), engine.encoder, "left", engine.model.device)
        del batch["position_ids"]
        engine.model.model.rope_deltas = None
        ids = engine.model.generate(
            **batch, do_sample=False, max_new_tokens=max_tokens, suppress_tokens=engine.banned_ids.tolist()
        )[0, batch["input_ids"].shape[1] :]
        found.append([tokenizer.decode(ids, skip_special_tokens=True)])
    return found
