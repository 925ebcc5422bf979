"""One rank's share of a model in training, as DeepSpeed's ZeRO spreads it.

Weights stay in float32 and the arithmetic is autocast, as in `single`; so a checkpoint's weights are the
training's. Adam's moments are spread in flat pieces of many parameters, with one count of steps for each
piece: parameters that have taken other numbers of steps are kept in pieces of their own.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed import PrefixStore  # type: ignore[attr-defined]

from mstar.config import Config
from mstar.trainers import Progressed
from mstar.trainers.learning import advance, learning_rate_at, refuse_nonfinite
from mstar.trainers.ranks import Parent
from mstar.trainers.rows import MicroBatch

MOMENTS = ("exp_avg", "exp_avg_sq")
BUCKET = 50_000_000
"""Numbers that are reduced or gathered at once: 200 MB in float32."""
Moments = dict[str, dict[str, Tensor]]


class ZeroLearner:
    """A model in training and its optimizer, of which other ranks hold the rest."""

    def __init__(self, model: nn.Module, forward: nn.Module, config: Config, moments: Moments) -> None:
        """`model` lies on the CPU and `forward` computes a summed loss with it, as for a Learner; `moments`
        are those that go on, also of parameters that this training does not reach.
        """
        import deepspeed

        self.config = config.train
        self.model = model
        self.trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
        self.begun = {name: float(moments[name]["step"]) if name in moments else 0.0 for name in self.trained}
        self.untouched = {name: moments[name] for name in moments.keys() - self.trained.keys()}
        self.steps_taken = 0
        self.engine, *_ = deepspeed.initialize(
            model=forward.train(), optimizer=self._optimizer(config), config=settings(config)
        )
        self.device = self.engine.device
        self.ranks = distributed.get_world_size()
        self._create_state()
        for name, parameter in self.trained.items():
            for kind in MOMENTS if name in moments else ():
                self._set(parameter, kind, moments[name][kind])

    def step(self, micro_batches: Iterable[MicroBatch], learned: int, before: Progressed) -> Progressed:
        """One optimizer step on a batch with so many labels, of which this rank has its micro-batches."""
        train_step = before.train_step + 1
        for group in self.engine.optimizer.param_groups:
            group["lr"] = learning_rate_at(train_step, self.config)
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        for batch in micro_batches:
            inputs = {name: tensor.to(self.device) for name, tensor in batch.inputs.items()}
            share = self.engine(inputs, batch.labels.to(self.device)) / learned
            self.engine.backward(share * self.ranks)  # ZeRO takes the mean over the ranks
            counted = torch.tensor([batch.padded_tokens, batch.total_tokens])
            sums += torch.cat([share.detach()[None].to(sums), counted.to(sums)])
        self.engine.step()
        distributed.all_reduce(sums)
        loss, padded, total = sums.tolist()
        norm = float(self.engine.get_global_grad_norm()) if self.engine.was_step_applied() else torch.inf
        refuse_nonfinite(train_step, loss, norm, self.config)
        self.steps_taken += 1
        return advance(before, loss, learned, int(padded), int(total))

    @contextmanager
    def whole(self, parameters: Iterable[nn.Parameter]) -> Iterator[None]:
        """Inside, rank 0 has all of these weights in its model, on the CPU.

        They come one after the other, as moments do: a device holds the whole of one at a time.
        """
        shares: list[tuple[nn.Parameter, Tensor]] = []
        for parameter in parameters:
            if hasattr(parameter, "ds_tensor"):
                weight = self._gather(parameter)
                if distributed.get_rank() == 0:
                    shares.append((parameter, parameter.data))
                    parameter.data = weight.cpu()
        try:
            yield
        finally:
            for parameter, share in shares:
                parameter.data = share

    def moment_shapes(self) -> dict[str, tuple[int, ...]]:
        """By `name/kind`, in the order in which `moments` has them."""
        shapes = {name: tuple(getattr(one, "ds_shape", one.shape)) for name, one in self.trained.items()}
        shapes |= {name: tuple(kinds["exp_avg"].shape) for name, kinds in self.untouched.items()}
        return {
            f"{name}/{kind}": shape if kind in MOMENTS else ()
            for name, shape in shapes.items()
            for kind in (*MOMENTS, "step")
        }

    def moments(self) -> Iterator[Tensor]:
        """All moments and counts of steps, one after the other; all ranks have to go through them."""
        for name, parameter in self.trained.items():
            for kind in MOMENTS:
                yield self._get(parameter, kind)
            yield torch.tensor(self.begun[name] + self.steps_taken)
        for kinds in self.untouched.values():
            yield from (kinds[kind] for kind in (*MOMENTS, "step"))

    def _optimizer(self, config: Config) -> torch.optim.AdamW:
        counts = sorted(set(self.begun.values()))
        groups = [
            {"params": [one for name, one in self.trained.items() if self.begun[name] == count]}
            for count in counts
        ]
        return torch.optim.AdamW(
            groups,
            lr=config.train.learning_rate,
            betas=config.train.betas,
            weight_decay=config.train.weight_decay,
            fused=config.deepspeed.offload_optimizer or None,
        )

    def _create_state(self) -> None:
        """What AdamW would create at its first step, with the steps that were taken before."""
        from deepspeed.utils import lazy_init_hp_params_optimizer_state

        zero, counts = self.engine.optimizer, sorted(set(self.begun.values()))
        is_spread = hasattr(zero, "fp32_partitioned_groups_flat")
        pieces = zero.fp32_partitioned_groups_flat if is_spread else zero.single_partition_of_fp32_groups
        for index, piece in enumerate(pieces):
            group = zero.sub_group_to_group_id[index] if is_spread else index
            state = {kind: torch.zeros_like(piece) for kind in MOMENTS}
            zero.optimizer.state[piece] = {"step": torch.tensor(counts[group])} | state
            if not is_spread:
                lazy_init_hp_params_optimizer_state(zero.bit16_groups[index], piece, zero.optimizer.state)

    def _set(self, parameter: nn.Parameter, kind: str, value: Tensor) -> None:
        """This rank's share of a moment. (DeepSpeed's own way with shares of weights fails where the ranks
        do not divide a parameter.)
        """
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        if not hasattr(parameter, "ds_tensor"):
            safe_set_full_optimizer_state(parameter, value, kind)
            return
        size, rank = parameter.ds_tensor.numel(), distributed.get_rank()
        own = value.flatten()[rank * size : (rank + 1) * size]
        share = torch.cat([own, own.new_zeros(size - own.numel())])
        safe_set_local_optimizer_state(parameter, share, kind)

    def _get(self, parameter: nn.Parameter, kind: str) -> Tensor:
        from deepspeed.utils import safe_get_full_optimizer_state

        moment: Tensor = safe_get_full_optimizer_state(parameter, kind)
        return moment

    def _gather(self, parameter: Any) -> Tensor:
        """A weight that is spread over the ranks, in its own type: DeepSpeed would take that of the
        arithmetic.
        """
        share = parameter.ds_tensor.to(self.device).contiguous()
        whole: Tensor = share.new_empty(share.numel() * self.ranks)
        distributed.all_gather_into_tensor(whole, share)
        return whole[: parameter.ds_numel].view(parameter.ds_shape)


def meet(parent: Parent, config: Config) -> None:
    """Find the other ranks. On a CPU through gloo alone: DeepSpeed's own way there takes a compiler, and a
    rank that dies in it is waited for without end.
    """
    device = config.model.device
    os.environ["DS_ACCELERATOR"] = device
    import deepspeed

    patience: timedelta = parent.wait_at_most(config.deepspeed.stalled_seconds)
    backend = "gloo" if device == "cpu" else "nccl"
    if device == "cuda":
        torch.cuda.set_device(parent.rank)
    store = PrefixStore("ranks", parent.store)
    distributed.init_process_group(
        backend, timeout=patience, store=store, rank=parent.rank, world_size=parent.count
    )
    if device == "cpu":
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(backend)
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)


def settings(config: Config) -> Mapping[str, Any]:
    """What DeepSpeed is told. The number of micro-batches differs from step to step, so we say when one is
    taken.
    """
    section, is_on_gpu = config.deepspeed, config.model.device == "cuda"
    zero: dict[str, Any] = {"stage": section.zero_stage}
    zero |= {"reduce_bucket_size": BUCKET, "allgather_bucket_size": BUCKET}
    place = {"device": "cpu", "pin_memory": is_on_gpu}
    zero |= {"offload_optimizer": place} if section.offload_optimizer else {}
    zero |= {"offload_param": place} if section.offload_weights else {}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": config.train.max_grad_norm,
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,
        "torch_autocast": {"enabled": config.model.dtype == "bfloat16", "dtype": "bfloat16"},
    }
