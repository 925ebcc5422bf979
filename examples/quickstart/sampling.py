"""Responses of a tiny policy to strip problems, in batches, for choosing a checkpoint and for PRM data.

One prefill a prompt, its cache repeated for the samples, finished rows dropped. The project's own engines
do the same for any model; this file only keeps the builders free of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import DynamicCache, PreTrainedTokenizerFast, Qwen3VLForConditionalGeneration

from strips import StripProblem, judge_steps
from tiny_policy import END, IMAGE, PAD, UNKNOWN, VIDEO, VISION_END, VISION_START, encode_batch

NEVER_SAMPLED = (PAD, UNKNOWN, IMAGE, VIDEO, VISION_START, VISION_END)
LONGEST_RESPONSE_TOKENS = 80
PROMPTS_AT_ONCE = 32


@torch.no_grad()
def sample_responses(
    model: Qwen3VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    problems: Sequence[StripProblem],
    samples_per_problem: int = 1,
    temperature: float = 0.0,
    opening: str = "",
) -> list[list[str]]:
    """For each problem its responses; temperature 0 is greedy; randomness is torch's global generator."""
    responses: list[list[str]] = []
    by_length = sorted(range(len(problems)), key=lambda index: problems[index].levels.shape[1])
    for start in range(0, len(problems), PROMPTS_AT_ONCE):
        chunk = [problems[index] for index in by_length[start : start + PROMPTS_AT_ONCE]]
        rows = _sample_chunk(model, tokenizer, chunk, samples_per_problem, temperature, opening)
        texts = [opening + tokenizer.decode(row) for row in rows]
        responses += [
            texts[row : row + samples_per_problem] for row in range(0, len(texts), samples_per_problem)
        ]
    place = {index: position for position, index in enumerate(by_length)}
    return [responses[place[index]] for index in range(len(problems))]


def _sample_chunk(
    model: Qwen3VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    problems: Sequence[StripProblem],
    samples: int,
    temperature: float,
    opening: str,
) -> list[list[int]]:
    """Token ids of each response, `samples` rows a problem in order, without the end token."""
    batch = encode_batch(tokenizer, problems, opening=opening)
    batch.pop("labels")
    end, banned = tokenizer.convert_tokens_to_ids(END), tokenizer.convert_tokens_to_ids(list(NEVER_SAMPLED))
    cache = DynamicCache(config=model.config.text_config)
    logits = model(**batch, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
    mask = batch["attention_mask"].repeat_interleave(samples, dim=0)
    offset = model.model.rope_deltas.repeat_interleave(samples, dim=0)
    cache.batch_repeat_interleave(samples)
    logits = logits.repeat_interleave(samples, dim=0)
    rows = [[] for _ in range(len(mask))]
    alive = torch.arange(len(mask))
    for _ in range(LONGEST_RESPONSE_TOKENS):
        logits[:, banned] = -torch.inf
        tokens = _pick(logits, temperature)
        going = tokens != end
        if not going.all():
            alive, tokens, mask, offset = alive[going], tokens[going], mask[going], offset[going]
            if not len(alive):
                break
            cache.batch_select_indices(going.nonzero().squeeze(1))
        for row, token in zip(alive.tolist(), tokens.tolist(), strict=True):
            rows[row].append(token)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        positions = (mask.sum(1, keepdim=True) - 1 + offset).expand(3, -1, -1)
        logits = model(
            input_ids=tokens[:, None], attention_mask=mask, position_ids=positions, past_key_values=cache
        ).logits[:, -1]
    return rows


def _pick(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    return torch.multinomial((logits / temperature).softmax(-1), 1).squeeze(1)


def final_answer(text: str) -> str:
    """What follows `Answer:`, or nothing."""
    return text.rpartition("Answer:")[2].strip() if "Answer:" in text else ""


def is_correct(problem: StripProblem, text: str) -> bool:
    return final_answer(text) == problem.answer


def is_sound(problem: StripProblem, text: str) -> bool:
    """Whether every step is right, and the answer with them."""
    return judge_steps(problem, text)[-1] and is_correct(problem, text)
