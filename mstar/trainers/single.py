"""Supervised fine-tuning of a policy in one torch process.

A batch is a random draw of examples, whatever their lengths; only inside a batch are rows grouped by length
into micro-batches, and every token weighs the same in the batch's loss. (Batches bucketed by length would
favour short responses.) Weights are kept in float32: at learning rates of 1e-6 an update is lost in bfloat16.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from mstar.config import Config, Train
from mstar.errors import UserError
from mstar.models import Encoded, Encoder, collate, load_model, set_threads
from mstar.prompts import build_request
from mstar.trainers import Example, Lesson, Progressed, SaveTo
from mstar.trainers.checkpoint import TrainingState, load_training_state, save_checkpoint

IGNORED = -100
"""Label of the tokens that are not learned, as in torch's cross_entropy."""
HELD_BYTES = 1 << 30
"""Image patches that are kept in memory during a lesson."""
AT_ONCE = 64
"""Prompts that are encoded together."""


class SingleTrainer:
    """See trainers.Trainer."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def train(self, lesson: Lesson, save_to: SaveTo) -> Iterator[Progressed]:
        set_threads(self.config.model)
        policy = Policy(lesson.interrupted or lesson.policy, self.config)
        batches = plan_batches(len(lesson.examples), self.config.train, lesson.seed)
        start = state = starting_state(lesson)
        yield start.progressed
        for state in self.steps(lesson, policy, batches, start):
            done = state.progressed.steps_done
            if done % self.config.train.checkpoint_every == 0 and done < len(batches):
                policy.save(state, save_to)
            yield state.progressed
        policy.save(state, save_to)

    def steps(
        self, lesson: Lesson, policy: "Policy", batches: Sequence[Sequence[int]], start: TrainingState
    ) -> Iterator[TrainingState]:
        """Take the optimizer steps that are left from `start`; yields where training stands after each."""
        policy.restore(start)
        progressed = start.progressed
        rows = LessonRows(lesson, policy.encoder)
        for batch in batches[progressed.steps_done :]:
            progressed = policy.step(rows.read(batch), progressed)
            yield policy.state(progressed)


@dataclass(frozen=True, slots=True)
class Row:
    """One example in tokens: the prompt and the response, of which the last `response_tokens` are learned."""

    encoded: Encoded
    response_tokens: int


class LessonRows:
    """The examples of a lesson as rows.

    Prompts are encoded once, in the order in which they are read fastest, as far as their patches fit into
    `HELD_BYTES`; the others when they are needed.
    """

    def __init__(self, lesson: Lesson, encoder: Encoder) -> None:
        self.lesson = lesson
        self.encoder = encoder
        self.held: dict[int, Encoded] = {}
        numbers, size = sorted({example.row for example in lesson.examples}), 0
        for start in range(0, len(numbers), AT_ONCE):
            prompts = self._encode(numbers[start : start + AT_ONCE])
            size += sum(patches.nbytes for prompt in prompts.values() for patches in prompt.pixels)
            if size > HELD_BYTES:
                break
            self.held.update(prompts)

    def read(self, batch: Sequence[int]) -> list[Row]:
        """The rows of some examples."""
        examples = [self.lesson.examples[index] for index in batch]
        missing = sorted({example.row for example in examples} - self.held.keys())
        prompts = {**self.held, **self._encode(missing)} if missing else self.held
        return [self._row(prompts[example.row], example) for example in examples]

    def _encode(self, numbers: Sequence[int]) -> dict[int, Encoded]:
        problems = self.lesson.read_problems(numbers)
        encoded = self.encoder.encode([build_request(problem, self.encoder.prompt) for problem in problems])
        return dict(zip(numbers, encoded, strict=True))

    def _row(self, prompt: Encoded, example: Example) -> Row:
        response = self.encoder.encode_response(example.text)
        return Row(prompt.followed_by(response), len(response))


class Policy:
    """The model being trained and its optimizer."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.encoder = Encoder(folder, config.images, config.prompt, config.model.revision)
        self.model = load_model(folder, config.model, torch.float32)
        self.config = config.train
        self.autocast = torch.autocast(
            config.model.device, torch.bfloat16, enabled=config.model.dtype == "bfloat16"
        )
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=self.config.learning_rate,
            betas=self.config.betas,
            weight_decay=self.config.weight_decay,
        )

    def restore(self, state: TrainingState) -> None:
        """Take over the moments and the random state; a state without them leaves the optimizer new."""
        moments = {
            index: state.moments[name] for index, name in enumerate(self._names()) if name in state.moments
        }
        if moments:
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        torch.set_rng_state(state.random_state)

    def state(self, progressed: Progressed) -> TrainingState:
        held = self.optimizer.state_dict()["state"]
        moments = {name: held[index] for index, name in enumerate(self._names()) if index in held}
        rate = learning_rate_at(progressed.train_step, self.config)
        return TrainingState(progressed, rate, moments, torch.get_rng_state())

    def save(self, state: TrainingState, save_to: SaveTo) -> None:
        with save_to() as folder:
            save_checkpoint(folder, self.model, self.encoder, state)

    def step(self, rows: Sequence[Row], before: Progressed) -> Progressed:
        """One optimizer step on the mean loss over all response tokens of the batch."""
        train_step = before.train_step + 1
        response_tokens = sum(row.response_tokens for row in rows)
        loss, padded, total = 0.0, 0, 0
        for indices in plan_micro_batches([len(row.encoded.ids) for row in rows], self.config):
            batch, labels = self.collate_rows([rows[index] for index in indices])
            share = self.summed_loss(batch, labels) / response_tokens
            share.backward()  # type: ignore[no-untyped-call]
            loss += share.item()
            padded += int((batch["attention_mask"] == 0).sum())
            total += batch["attention_mask"].numel()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        self._refuse_nonfinite(train_step, loss, float(norm))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(train_step, self.config)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return Progressed(
            train_step=train_step,
            steps_done=before.steps_done + 1,
            loss=loss,
            first_loss=loss if before.first_loss is None else before.first_loss,
            response_tokens=before.response_tokens + response_tokens,
            padded_tokens=before.padded_tokens + padded,
            total_tokens=before.total_tokens + total,
        )

    def _refuse_nonfinite(self, train_step: int, loss: float, norm: float) -> None:
        """A step on such a gradient would make every weight NaN."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise UserError(
                f"the loss is {loss} and its gradient's norm {norm} at train step {train_step}; both must be "
                f"finite; train.learning_rate is {self.config.learning_rate:g}: start a run with a lower one"
            )

    def collate_rows(self, rows: Sequence[Row]) -> tuple[dict[str, Tensor], Tensor]:
        """The padded batch and the label of each position: the next token where that is one of the
        response's.
        """
        batch = collate([row.encoded for row in rows], self.encoder, "right", self.model.device)
        labels = torch.full_like(batch["input_ids"], IGNORED)
        for index, row in enumerate(rows):
            end = len(row.encoded.ids)
            learned = slice(end - row.response_tokens, end)
            labels[index, learned.start - 1 : end - 1] = batch["input_ids"][index, learned]
        return batch, labels

    def summed_loss(self, batch: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Logits are made for the learned positions only: vocabulary times all tokens would not fit."""
        with self.autocast:
            hidden = self.model.model(**batch, use_cache=False).last_hidden_state
            learned = labels != IGNORED
            logits = self.model.get_output_embeddings()(hidden[learned])
        return functional.cross_entropy(logits.float(), labels[learned], reduction="sum")

    def _names(self) -> list[str]:
        return [name for name, _ in self.model.named_parameters()]


def learning_rate_at(train_step: int, config: Train) -> float:
    """Linear warm-up, then constant. `train_step` counts from 1."""
    return config.learning_rate * min(1.0, train_step / config.warmup_steps if config.warmup_steps else 1.0)


def plan_batches(examples: int, config: Train, seed: int) -> list[list[int]]:
    """Indices of the examples of each optimizer step: an epoch is a fresh random order, cut into batches."""
    shuffler = random.Random(seed)
    batches = []
    for _ in range(config.epochs):
        order = list(range(examples))
        shuffler.shuffle(order)
        batches += [
            order[start : start + config.batch_size] for start in range(0, examples, config.batch_size)
        ]
    return batches


def plan_micro_batches(lengths: Sequence[int], config: Train) -> list[list[int]]:
    """Group rows of similar length so that none holds more padding or more tokens than the configuration
    allows.
    """
    groups: list[list[int]] = []
    held = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        longest = lengths[groups[-1][0]] if groups else 0
        padded_size = longest * (len(groups[-1]) + 1) if groups else 0
        within_padding = padded_size - held - lengths[index] <= config.max_padding * padded_size
        if groups and within_padding and padded_size <= config.tokens_per_micro_batch:
            groups[-1].append(index)
            held += lengths[index]
        else:
            groups.append([index])
            held = lengths[index]
    return groups


def starting_state(lesson: Lesson) -> TrainingState:
    """Where a lesson begins: where it was interrupted, where the policy's own training ended, or afresh."""
    if lesson.interrupted:
        return load_training_state(lesson.interrupted)
    if lesson.inherit_optimizer:
        inherited = load_training_state(lesson.policy)
        return replace(inherited, progressed=Progressed(inherited.progressed.train_step))
    return TrainingState(Progressed(0), 0.0, {}, torch.Generator().manual_seed(lesson.seed).get_state())
