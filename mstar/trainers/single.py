"""Supervised fine-tuning of a policy in one torch process."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby
from operator import itemgetter

import torch

from mstar.config import Config
from mstar.config_train import Train
from mstar.errors import UserError
from mstar.models import Encoder, set_threads
from mstar.seeds import derive_seed
from mstar.trainers import Lesson, Progressed, SaveTo
from mstar.trainers.batches import plan_batches
from mstar.trainers.checkpoint import TrainingState, fitting_moments, load_training_state, save_checkpoint
from mstar.trainers.learning import learning_rate_at
from mstar.trainers.policy import Policy, open_policy
from mstar.trainers.prefetch import prefetch_for, rows_at_once
from mstar.trainers.probing import probe_policy
from mstar.trainers.rows import LessonRows, MicroBatch, cut_micro_batches


class SingleTrainer:
    """See trainers.Trainer."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds; `train.checkpoint_minutes` are measured by it."""
        self.config = config
        self.clock = clock

    def train(self, lesson: Lesson, save_to: SaveTo) -> Iterator[Progressed]:
        set_threads(self.config.model)
        policy, begun = self._begin(lesson)
        yield begun
        saved, saved_at, reached = begun.steps_done, self.clock(), begun
        for reached in self.steps(lesson, policy, begun):
            if is_due(self.config.train, reached.steps_done - saved, self.clock() - saved_at):
                self._save(policy, reached, save_to)
                saved, saved_at = reached.steps_done, self.clock()
            yield reached
        if reached.steps_done and not policy.learner.moments():
            raise nothing_to_train(self.config.train)
        if saved < reached.steps_done:
            self._save(policy, reached, save_to)

    def _begin(self, lesson: Lesson) -> tuple[Policy, Progressed]:
        """The policy with the optimizer that the lesson starts with, and how far it has come."""
        state, folder = starting_state(lesson), lesson.interrupted or lesson.policy
        policy = open_policy(folder, self.config)
        learner = policy.learner
        learner.restore(fitting_moments(state, learner.trained, learner.frozen, folder))
        return policy, state.progressed

    def steps(self, lesson: Lesson, policy: Policy, progressed: Progressed) -> Iterator[Progressed]:
        """Take the optimizer steps that are left, and save nothing."""
        device = policy.learner.device
        own = self._micro_batches(lesson, policy.encoder, progressed.steps_done, rows_at_once(device))
        made = prefetch_for(device, own)
        for (number, learned), group in groupby(made, itemgetter(0, 1)):
            torch.manual_seed(derive_seed(lesson.seed, "step", number))  # of dropout, after a kill too
            progressed = policy.learner.step((micro_batch for *_, micro_batch in group), learned, progressed)
            yield progressed

    def _micro_batches(
        self, lesson: Lesson, encoder: Encoder, done: int, at_once: int
    ) -> Iterator[tuple[int, int, MicroBatch]]:
        """After `done` steps, each with its step's number and the number of labels in that step."""
        rows = LessonRows(lesson, encoder)
        batches = plan_batches(len(lesson.rows), self.config.train, lesson.seed)
        for number, batch in enumerate(rows.read_in_turn(batches[done:], at_once), done):
            learned = sum(row.learned for row in batch)
            for micro_batch in cut_micro_batches(batch, encoder, self.config.train):
                yield number, learned, micro_batch

    def _save(self, policy: Policy, progressed: Progressed, save_to: SaveTo) -> None:
        rate, learner = learning_rate_at(progressed.train_step, self.config.train), policy.learner
        probe = probe_policy(policy, learner.forward, learner.device, self.config)
        with save_to(progressed.steps_done) as folder:
            save_checkpoint(folder, policy, TrainingState(progressed, rate, learner.moments()), probe)


def is_due(config: Train, steps: int, seconds: float) -> bool:
    """Whether it is time for a checkpoint, that long after the last one."""
    return steps >= config.checkpoint_every or seconds >= 60 * config.checkpoint_minutes


def nothing_to_train(config: Train) -> UserError:
    """A lesson of texts alone teaches nothing where only the vision tower learns."""
    return UserError(
        f"none of the responses reached a part that is trained: train.freeze is "
        f"[{', '.join(config.freeze)}], and their problems have no image; choose another "
        "output, and take text out of train.freeze"
    )


def starting_state(lesson: Lesson) -> TrainingState:
    """Where a lesson begins: where it was interrupted, where the policy's own training ended, or afresh."""
    if lesson.interrupted:
        return load_training_state(lesson.interrupted)
    if lesson.inherit_optimizer:
        inherited = load_training_state(lesson.policy)
        return replace(inherited, progressed=Progressed(inherited.progressed.train_step))
    return TrainingState(Progressed(0), 0.0, {})
