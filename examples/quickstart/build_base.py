"""Trains the base policy of the quick start: `python build_base.py` (about 40 minutes on a shared core).

A base model that self-training can improve knows a good way of answering and seldom uses it. So the tiny
model first learns to read and to add from clean solutions, then a corpus of mixed quality: mostly guesses,
some hasty and some careful chains. How often the corpus guesses differs by length and kind of problem,
so that the loop turns one group of problems after the other and accuracy rises in stairs, not in one jump.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast, Qwen3VLForConditionalGeneration

from sampling import is_correct, is_sound, sample_responses
from strips import (
    KINDS,
    LARGEST_VALUE,
    StripProblem,
    conclude,
    draw,
    judge_steps,
    make_problem,
    sample_options,
    write_solution,
)
from tiny_policy import build_model, build_tokenizer, check_patches, encode_batch, save_policy

TOKENS_PER_ROW = 24  # a constant normaliser: a mean over tokens would favour short guesses
GUESS_SHARE = {2: 0.86, 3: 0.82, 4: 0.74, 5: 0.67, 6: 0.66}
GUESS_SHARE_BY_KIND = {"number": -0.03, "boolean": 0.05, "choice": 0.01}


@dataclass(frozen=True)
class Example:
    """A problem and its solution; the loss skips the first `given` tokens of the solution."""

    problem: StripProblem
    solution: str
    given: int = 0


@dataclass(frozen=True)
class Stage:
    """Some steps on one mixture of examples; the learning rate goes from first to last along a cosine."""

    name: str
    steps: int
    rows: int
    first_rate: float
    last_rate: float
    example: Callable[[np.random.Generator], Example]
    looks: tuple[int, ...] = ()  # steps, besides the last, after which the policy is examined


def drill(rng: np.random.Generator) -> Example:
    """The end of a chain, one sum and what follows from its value, on an arbitrary strip of one cell."""
    term, start = int(rng.integers(0, 10)), int(rng.integers(0, LARGEST_VALUE + 1))
    minus = start + term > LARGEST_VALUE or (start >= term and rng.random() < 0.5)
    value = start - term if minus else start + term
    kind = str(rng.choice(KINDS, p=(0.2, 0.35, 0.45)))
    levels = draw((term,), (False,), rng, held_out=False, distorted=False)
    problem = StripProblem((term,), (False,), kind, sample_options(kind, value, rng), levels)
    steps, answer = conclude(problem, value)
    sum_read = f"{start}{'-' if minus else '+'}{term}="
    return Example(problem, ";".join([f"{sum_read}{value}", *steps, f"Answer:{answer}"]), given=len(sum_read))


def clean_example(rng: np.random.Generator, term_counts: Sequence[int]) -> Example:
    problem = make_problem(int(rng.choice(term_counts)), str(rng.choice(KINDS)), rng)
    return Example(problem, write_solution(problem, "clean", rng))


def short_example(rng: np.random.Generator) -> Example:
    """Short strips teach the digits: behind a long chain the picture is hardly looked at."""
    return drill(rng) if rng.random() < 0.35 else clean_example(rng, (1, 2, 2, 3))


def long_example(rng: np.random.Generator) -> Example:
    return drill(rng) if rng.random() < 0.20 else clean_example(rng, (2, 2, 3, 3, 4, 4, 5, 6))


def mixed_example(rng: np.random.Generator) -> Example:
    """The base's corpus: solutions of mixed quality, as a corpus that nobody filtered has them."""
    term_count = int(rng.choice((2, 3, 4, 5, 6), p=(0.10, 0.26, 0.26, 0.26, 0.12)))
    kind = str(rng.choice(KINDS))
    problem = make_problem(term_count, kind, rng)
    if rng.random() < GUESS_SHARE[term_count] + GUESS_SHARE_BY_KIND[kind]:
        style = "guess"
    else:
        style = "hasty" if rng.random() < 0.5 else "careful"
    return Example(problem, write_solution(problem, style, rng))


STAGES = (
    Stage("short clean", 400, 96, 2e-3, 2e-3, short_example),
    Stage("long clean", 850, 64, 2e-3, 2e-4, long_example, looks=(250, 500)),
    Stage("mixed", 380, 64, 6e-4, 3e-5, mixed_example, looks=(320, 350)),
)
WARM_UP_STEPS = 20


def learning_rate(stage: Stage, step: int) -> float:
    share = 0.5 * (1 + math.cos(math.pi * step / stage.steps))
    return (stage.last_rate + (stage.first_rate - stage.last_rate) * share) * min(1.0, step / WARM_UP_STEPS)


def batch_loss(
    model: Qwen3VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, examples: Sequence[Example]
) -> torch.Tensor:
    """Sum of the tokens' cross-entropy over the examples."""
    batch = encode_batch(tokenizer, [one.problem for one in examples], [one.solution for one in examples])
    labels = batch.pop("labels")
    for row, one in enumerate(examples):
        first = int((labels[row] != -100).nonzero()[0])
        labels[row, first : first + one.given] = -100
    hidden = model.model(**batch).last_hidden_state[:, :-1]
    wanted = labels[:, 1:]
    counted = wanted != -100
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[counted]), wanted[counted], reduction="sum")


def train_step(
    model: Qwen3VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    optimizer: torch.optim.Optimizer,
    examples: Sequence[Example],
) -> float:
    """One optimizer step; the rows go through in three groups of like length, which saves padding only."""
    ordered = sorted(examples, key=lambda one: one.problem.levels.shape[1] // 28 + len(one.solution))
    total = 0.0
    for group in np.array_split(np.arange(len(ordered)), 3):
        loss = batch_loss(model, tokenizer, [ordered[index] for index in group])
        loss = loss / (len(ordered) * TOKENS_PER_ROW)
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total


def describe(
    model: Qwen3VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    problems: Sequence[StripProblem],
) -> dict[str, float]:
    """What the policy does, and what it can do, on problems of the builder's own."""
    model.eval()
    torch.manual_seed(7)
    greedy = [texts[0] for texts in sample_responses(model, tokenizer, problems)]
    chains = [texts[0] for texts in sample_responses(model, tokenizer, problems, opening="Read:")]
    samples = sample_responses(model, tokenizer, problems, samples_per_problem=8, temperature=1.0)
    judged = [
        [is_correct(problem, text) for text in texts]
        for problem, texts in zip(problems, samples, strict=True)
    ]
    pairs = list(zip(problems, greedy, strict=True))
    figures = {
        "greedy": np.mean([is_correct(*pair) for pair in pairs]),
        "guesses": np.mean([text.startswith("Answer:") for text in greedy]),
        "reads": np.mean([judge_steps(*pair)[0] for pair in zip(problems, chains, strict=True)]),
        "greedy, made to read": np.mean([is_sound(*pair) for pair in zip(problems, chains, strict=True)]),
        "sampled": np.mean(judged),
        "pass@8": np.mean([any(row) for row in judged]),
    }
    for kind in KINDS:
        figures[kind] = np.mean([is_correct(*pair) for pair in pairs if pair[0].kind == kind])
    model.train()
    return {name: round(float(value), 3) for name, value in figures.items()}


def train(model: Qwen3VLForConditionalGeneration, stages: Sequence[Stage], seed: int, folder: Path) -> None:
    """Runs the stages, keeps the checkpoint with the most room for self-training: pass@8 less greedy."""
    tokenizer = build_tokenizer()
    own = np.random.default_rng(seed + 1)
    choosing = [make_problem(3 + index % 3, KINDS[index // 3 % 3], own) for index in range(270)]
    check_patches(choosing[:9])
    best, began = -1.0, time.monotonic()
    for number, stage in enumerate(stages):
        rng = np.random.default_rng((seed, number))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.01)
        for step in range(1, stage.steps + 1):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(stage, step)
            loss = train_step(model, tokenizer, optimizer, [stage.example(rng) for _ in range(stage.rows)])
            if step % 25 == 0:
                spent = time.monotonic() - began
                print(f"{spent:6.0f} s  {stage.name}  step {step}/{stage.steps}  loss {loss:.4f}", flush=True)
            if step != stage.steps and step not in stage.looks:
                continue
            figures = describe(model, tokenizer, choosing)
            print(f"{stage.name}, step {step}: {figures}", flush=True)
            if stage is stages[-1] and figures["pass@8"] - figures["greedy"] > best:
                best = figures["pass@8"] - figures["greedy"]
                save_policy(model, folder)
                print(f"saved to {folder.name}/", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("base"))
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    model = build_model(build_tokenizer())
    print(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters", flush=True)
    train(model.train(), STAGES, arguments.seed, arguments.out)


if __name__ == "__main__":
    main()
