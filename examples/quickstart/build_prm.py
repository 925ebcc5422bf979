"""Trains the process reward model: `python build_prm.py` (about 14 minutes on a shared core).

It starts from the base policy. A scalar head reads the hidden state at the end of every step and says how
likely it is that this step and all before it are right. The labels are exact, because the strips are known;
`mstar prm` makes such labels from continuations, for problems whose steps nobody can check.
The responses are the base's own at temperature 1, half of them made to begin with `Read:`: left alone the
base mostly guesses, and a guess teaches little about chains.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast, Qwen3VLForConditionalGeneration

from sampling import is_correct, sample_responses
from strips import KINDS, STEP_SEPARATOR, StripProblem, judge_steps, make_problem
from tiny_policy import build_tokenizer, encode_batch, load_policy, save_policy

SAMPLES_PER_PROBLEM = 4
ROWS = 64
PEAK_RATE, HEAD_RATE = 4e-4, 2e-3


@dataclass(frozen=True)
class Judged:
    """A response and for each of its steps whether it is right, with all before it."""

    problem: StripProblem
    text: str
    labels: list[bool]


def sample_judged(
    policy: Qwen3VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    problem_count: int,
    seed: int,
    held_out: bool,
) -> list[Judged]:
    """Distinct responses of the policy to fresh problems, with exact labels; none with an empty step."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    lengths = (3, 4, 5) if held_out else (2, 3, 3, 4, 4, 5, 5, 6)
    problems = [
        make_problem(int(rng.choice(lengths)), KINDS[index % 3], rng, held_out)
        for index in range(problem_count)
    ]
    free = sample_responses(policy, tokenizer, problems, SAMPLES_PER_PROBLEM, temperature=1.0)
    made_to_read = sample_responses(
        policy, tokenizer, problems, SAMPLES_PER_PROBLEM, temperature=1.0, opening="Read:"
    )
    return [
        Judged(problem, text, judge_steps(problem, text))
        for problem, *texts in zip(problems, free, made_to_read, strict=True)
        for text in sorted(set(texts[0] + texts[1]))
        if all(text.split(STEP_SEPARATOR))
    ]


def step_ends(
    tokenizer: PreTrainedTokenizerFast, input_ids: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column of the last token of each step: a separator, or the token before the end token."""
    separator = tokenizer.convert_tokens_to_ids(STEP_SEPARATOR)
    answered = labels != -100
    before_end = torch.zeros_like(answered)
    before_end[:, :-1] = answered[:, :-1] & (labels[:, 1:] == tokenizer.eos_token_id)
    rows, columns = ((answered & (input_ids == separator)) | before_end).nonzero(as_tuple=True)
    return rows, columns


def step_logits(
    model: Qwen3VLForConditionalGeneration,
    head: torch.nn.Linear,
    tokenizer: PreTrainedTokenizerFast,
    responses: Sequence[Judged],
) -> torch.Tensor:
    """Logits of all steps of the responses, in order."""
    batch = encode_batch(tokenizer, [one.problem for one in responses], [one.text for one in responses])
    labels = batch.pop("labels")
    hidden = model.model(**batch).last_hidden_state
    return head(hidden[step_ends(tokenizer, batch["input_ids"], labels)]).squeeze(1)


def train(
    model: Qwen3VLForConditionalGeneration,
    head: torch.nn.Linear,
    tokenizer: PreTrainedTokenizerFast,
    judged: Sequence[Judged],
    epochs: int,
) -> None:
    """Binary cross-entropy on every step, all weights, the learning rate along a cosine."""
    rng = np.random.default_rng(5)
    optimizer = torch.optim.AdamW(
        [{"params": model.parameters(), "peak": PEAK_RATE}, {"params": head.parameters(), "peak": HEAD_RATE}],
        lr=0.0,
        weight_decay=0.01,
    )
    order = np.concatenate([rng.permutation(len(judged)) for _ in range(epochs)])
    steps = len(order) // ROWS
    for step in range(steps):
        rate = min(1.0, (step + 1) / 30) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        rows = sorted(
            (judged[index] for index in order[step * ROWS : (step + 1) * ROWS]), key=lambda one: len(one.text)
        )
        total = 0.0
        for part in (rows[: ROWS // 2], rows[ROWS // 2 :]):
            wanted = torch.tensor([label for one in part for label in one.labels], dtype=torch.float32)
            logits = step_logits(model, head, tokenizer, part)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / (
                4 * ROWS
            )
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 25 == 24:
            print(f"step {step + 1}/{steps}  loss {total:.4f}", flush=True)


def area_under_curve(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """The chance that a right one scores above a wrong one, ties counting half."""
    ordered, wanted = np.asarray(scores), np.asarray(labels, dtype=bool)
    right, wrong = ordered[wanted][:, None], ordered[~wanted][None]
    return float(((right > wrong) + 0.5 * (right == wrong)).mean())


@torch.no_grad()
def evaluate(
    model: Qwen3VLForConditionalGeneration,
    head: torch.nn.Linear,
    tokenizer: PreTrainedTokenizerFast,
    judged: Sequence[Judged],
) -> dict[str, float]:
    """AUC of steps, and of the lowest step score among responses with the right final answer."""
    steps: list[list[float]] = []
    for start in range(0, len(judged), ROWS):
        part = judged[start : start + ROWS]
        scores = step_logits(model, head, tokenizer, part).sigmoid().split([len(one.labels) for one in part])
        steps += [row.tolist() for row in scores]
    correct = [
        (row, one) for row, one in zip(steps, judged, strict=True) if is_correct(one.problem, one.text)
    ]
    chains = [(row, one) for row, one in correct if one.text.startswith("Read:")]
    figures = {
        "steps": area_under_curve(
            [score for row in steps for score in row], [label for one in judged for label in one.labels]
        ),
        "right answers": area_under_curve(
            [min(row) for row, _ in correct], [one.labels[-1] for _, one in correct]
        ),
        "right answers, chains": area_under_curve(
            [min(row) for row, _ in chains], [one.labels[-1] for _, one in chains]
        ),
    }
    return {name: round(value, 4) for name, value in figures.items()}


def save(model: Qwen3VLForConditionalGeneration, head: torch.nn.Linear, folder: Path) -> None:
    save_policy(model, folder)
    tensors = {"weight": head.weight.detach().contiguous(), "bias": head.bias.detach().contiguous()}
    save_file(tensors, folder / "prm_head.safetensors")
    about = {"step_separator": STEP_SEPARATOR, "labels": "exact step labels of the test bed"}
    (folder / "prm.json").write_text(json.dumps(about, indent=2) + "\n")


def main() -> None:
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, default=here / "base")
    parser.add_argument("--out", type=Path, default=here / "prm")
    parser.add_argument("--problems", type=int, default=2400)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    began = time.monotonic()
    tokenizer, model = build_tokenizer(), load_policy(arguments.base).eval()
    judged = sample_judged(model, tokenizer, arguments.problems, seed=31, held_out=False)
    fresh = sample_judged(model, tokenizer, 150, seed=32, held_out=True)
    print(f"{time.monotonic() - began:.0f} s  {len(judged)} distinct responses", flush=True)
    torch.manual_seed(33)
    head = torch.nn.Linear(model.config.text_config.hidden_size, 1)
    train(model, head, tokenizer, judged, arguments.epochs)
    save(model, head, arguments.out)
    figures = evaluate(load_policy(arguments.out), head, tokenizer, fresh)
    print(f"{time.monotonic() - began:.0f} s  AUC on fresh responses: {figures}")


if __name__ == "__main__":
    main()
