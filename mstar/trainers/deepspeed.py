"""Training spread over several GPUs by DeepSpeed's ZeRO, in processes of its own.

The stage's process starts one process for each rank (ranks.py), passes on how far they have come, and gives
rank 0 a place for each checkpoint. What a rank does is in deepspeed_rank.py, what DeepSpeed does for it in
zero.py. Checkpoints are those of `single`, so everything else works with either.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import closing

import torch

from mstar.config import Config
from mstar.errors import UserError
from mstar.trainers import Lesson, Progressed, SaveTo
from mstar.trainers.ranks import Ranks

INSTALL = "train.trainer is deepspeed, which is not installed: pip install 'mstar[deepspeed]', or take single"


class DeepspeedTrainer:
    """See trainers.Trainer."""

    def __init__(self, config: Config) -> None:
        """UserError where DeepSpeed or the GPUs are missing."""
        if importlib.util.find_spec("deepspeed") is None:
            raise UserError(INSTALL)
        self.config = config
        self.ranks = count_ranks(config)

    def train(self, lesson: Lesson, save_to: SaveTo) -> Iterator[Progressed]:
        stalled = self.config.deepspeed.stalled_seconds
        ranks = Ranks("mstar.trainers.deepspeed_rank", self.ranks, (self.config, lesson), stalled)
        with closing(ranks):
            messages = ranks.messages()
            for message in messages:
                match message:
                    case {"progressed": facts}:
                        yield Progressed(**facts)
                    case {"checkpoint": steps_done}:
                        with save_to(steps_done) as folder:
                            ranks.answer(str(folder))
                            next(messages)


def count_ranks(config: Config) -> int:
    """How many ranks there will be; UserError where there are fewer GPUs."""
    wanted = config.deepspeed.ranks
    if config.model.device == "cpu":
        return wanted or 1
    gpus = torch.cuda.device_count()
    if not gpus:
        raise UserError(
            "model.device is cuda but torch sees no GPU; set it to cpu or install a CUDA build of torch"
        )
    if wanted and wanted > gpus:
        raise UserError(f"deepspeed.ranks is {wanted}, and torch sees {gpus} GPUs; each rank needs its own")
    return wanted or gpus
