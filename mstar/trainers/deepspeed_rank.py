"""What one rank of the trainer `deepspeed` does: `python -m mstar.trainers.deepspeed_rank`, started by
ranks.Ranks.

It takes the steps of `single`, on its share of every batch. All ranks gather what a checkpoint holds; rank 0
writes it, and it alone speaks to the stage's process.
"""

import dataclasses
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import distributed

from mstar.config import Config
from mstar.errors import UserError
from mstar.models import part_of
from mstar.models.threads import allowed_cores
from mstar.seeds import derive_seed
from mstar.storage.folder import explained
from mstar.trainers import Lesson, Progressed
from mstar.trainers.batches import plan_batches
from mstar.trainers.checkpoint import MOMENTS, fitting_moments, save_policy, save_progress
from mstar.trainers.learning import learning_rate_at
from mstar.trainers.policy import open_policy
from mstar.trainers.prefetch import prefetch_for, rows_at_once
from mstar.trainers.probing import probe_policy
from mstar.trainers.ranks import Parent
from mstar.trainers.rows import LessonRows, MicroBatch, Row, build_micro_batch, group_rows
from mstar.trainers.shares import deal, find_filler, has_image, with_fillers
from mstar.trainers.single import is_due, nothing_to_train, starting_state
from mstar.trainers.tensor_file import write_tensors
from mstar.trainers.zero import ZeroLearner, meet


class Rank:
    """One of the processes that train together."""

    def __init__(self, parent: Parent, config: Config, lesson: Lesson) -> None:
        """The ranks have met (see zero.meet)."""
        self.parent, self.config, self.lesson = parent, config, lesson
        torch.set_num_threads(max(1, (config.model.threads or allowed_cores()) // parent.count))
        state, folder = starting_state(lesson), lesson.interrupted or lesson.policy
        self.policy = open_policy(folder, on_cpu(config))
        self.encoder = self.policy.encoder
        opened = self.policy.learner
        moments = fitting_moments(state, opened.trained, opened.frozen, folder)
        self.rows = LessonRows(lesson, self.encoder)
        self.filler = find_filler(self.rows)
        if not has_image(self.filler):
            self._freeze_what_sees()
        self.learner = ZeroLearner(self.policy.model, opened.forward, config, moments)
        self.begun = state.progressed

    def train(self) -> None:
        """Take the optimizer steps that are left, with checkpoints now and then and at the end."""
        reached, saved, saved_at = self.begun, self.begun.steps_done, time.monotonic()
        self._tell(reached)
        for reached in self.steps():
            due = is_due(self.config.train, reached.steps_done - saved, time.monotonic() - saved_at)
            if self._says_the_first(due):
                self._save(reached)
                saved, saved_at = reached.steps_done, time.monotonic()
            self._tell(reached)
        if saved < reached.steps_done:
            self._save(reached)

    def steps(self) -> Iterator[Progressed]:
        """Take the optimizer steps that are left, and save nothing."""
        progressed, done = self.begun, self.begun.steps_done
        batches = plan_batches(len(self.lesson.rows), self.config.train, self.lesson.seed)
        device = self.learner.device
        read = self.rows.read_in_turn(batches[done:], rows_at_once(device))
        made = prefetch_for(device, read)
        for number, batch in enumerate(made, done):
            torch.manual_seed(self._dropout_seed(number))
            learned = sum(row.learned for row in batch)
            progressed = self.learner.step(self._micro_batches(batch), learned, progressed)
            yield progressed

    def _micro_batches(self, batch: Sequence[Row]) -> Iterator[MicroBatch]:
        """This rank's share of a batch, in as many micro-batches as the other ranks have."""
        hand = deal([len(row.encoded.ids) for row in batch], self.parent.count)[self.parent.rank]
        groups = group_rows([batch[index] for index in hand], self.config.train)
        most = torch.tensor(len(groups), device=self.learner.device)
        distributed.all_reduce(most, distributed.ReduceOp.MAX)
        for group in with_fillers(groups, self.filler, int(most)):
            yield build_micro_batch(group, self.encoder, self.config.train)

    def _freeze_what_sees(self) -> None:
        """In a lesson of texts alone no gradient reaches these parts; `single` leaves them as they are, and
        so does ZeRO where it does not have them.
        """
        for name, parameter in self.policy.model.named_parameters():
            if part_of(name, self.encoder.family) != "text":
                parameter.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in self.policy.model.parameters()):
            raise nothing_to_train(self.config.train)

    def _dropout_seed(self, number: int) -> int:
        """Of a step: that of `single` on the first rank, others on the others."""
        rank = [self.parent.rank] if self.parent.rank else []
        return derive_seed(self.lesson.seed, "step", number, *rank)

    def _says_the_first(self, answer: bool) -> bool:
        """What rank 0 answers, whose clock counts."""
        said = torch.tensor(int(answer), device=self.learner.device)
        distributed.broadcast(said, 0)
        return bool(said)

    def _save(self, progressed: Progressed) -> None:
        is_first = self.parent.rank == 0
        folder = Path(self.parent.ask(checkpoint=progressed.steps_done)) if is_first else Path()
        is_adapter = self.policy.base is not None
        probe = probe_policy(self.policy, self.learner.engine, self.learner.device, self.config)
        with self.learner.whole(
            self.learner.trained.values() if is_adapter else self.policy.model.parameters()
        ):
            if is_first:
                with explained(folder):
                    save_policy(folder, self.policy, probe)
        moments = self.learner.moments()
        if is_first:
            with explained(folder):
                write_tensors(folder / MOMENTS, self.learner.moment_shapes(), moments)
                save_progress(folder, progressed, learning_rate_at(progressed.train_step, self.config.train))
            self.parent.tell(written=True)
        else:
            deque(moments, maxlen=0)

    def _tell(self, progressed: Progressed) -> None:
        self.parent.tell(progressed=dataclasses.asdict(progressed))


def on_cpu(config: Config) -> Config:
    """The same, for a model that is loaded there: ZeRO takes each rank's share to its device."""
    return config.model_copy(update={"model": config.model.model_copy(update={"device": "cpu"})})


def main() -> None:
    parent = Parent()
    try:
        config, lesson = parent.lesson
        meet(parent, config)
        Rank(parent, config, lesson).train()
    except UserError as error:
        parent.refuse(str(error))
        sys.exit(2)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
