"""The sections `train` and `deepspeed` of the configuration; see config.py."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mstar.settings import FREE, Section, changes

Beta = Annotated[float, Field(ge=0, lt=1)]
LayerName = Annotated[str, Field(pattern=r"^\w+$")]


class Lora(Section):
    """Train small matrices beside the weights (LoRA, arXiv 2106.09685), which stay as they are."""

    rank: Annotated[int | None, changes("train")] = Field(None, ge=1, le=4096)
    """Of the matrices; null trains the weights themselves. The base is then held in `model.dtype`."""
    alpha: Annotated[float | None, changes("train")] = Field(None, gt=0)
    """What the matrices add is scaled by alpha / rank; null takes twice the rank."""
    dropout: Annotated[float, changes("train")] = Field(0.0, ge=0, lt=1)
    """Share of the matrices' inputs that is left out in training."""
    targets: Annotated[tuple[LayerName, ...] | None, changes("train")] = Field(None, min_length=1)
    """Last names of the linear layers that get them, such as q_proj; null takes all of them. Parts that
    `train.freeze` names get none, nor does the output head.
    """

    @property
    def scale_numerator(self) -> float:
        """Alpha, whether it is set or follows from the rank."""
        return 2.0 * (self.rank or 0) if self.alpha is None else self.alpha


class Train(Section):
    trainer: Annotated[Literal["single", "deepspeed"], changes("train", per_stage=True)] = "single"
    """What trains: `single` is one torch process on one device; `deepspeed` spreads a training over several
    GPUs and needs the extra of that name (section `deepspeed`).
    """
    inherit: Annotated[Literal["optimizer", "weights", "none"], changes("train")] = "optimizer"
    """`optimizer`: weights, Adam moments and steps go on from iteration to iteration (the paper's best);
    `weights`: the optimizer starts anew; `none`: back to the first policy, on all responses selected so far.
    """
    freeze: Annotated[tuple[Literal["vision", "projector", "text"], ...], changes("train", before=())] = (
        "vision",
        "projector",
    )
    """Parts of the model that stay as they are. The vision tower and its projector by default, as is usual
    for large models; `[]` trains everything.
    """
    lora: Lora = Lora()
    """Train an adapter instead of the weights; off as long as it has no `rank`."""
    optimizer: Annotated[Literal["adamw", "adamw_8bit"], changes("train")] = "adamw"
    """`adamw_8bit` keeps Adam's moments in 2 bytes a parameter instead of 8, and needs the extra `8bit`."""
    gradient_checkpointing: Annotated[bool, FREE] = False
    """Compute activations again in the backward pass instead of keeping them: less memory, a third slower."""
    learning_rate: Annotated[float, changes("train")] = Field(1e-6, gt=0, le=1)
    """Constant after the warm-up."""
    warmup_steps: Annotated[int, changes("train")] = Field(0, ge=0)
    """Optimizer steps over which the learning rate rises linearly; counted over the whole run where
    inherited.
    """
    batch_size: Annotated[int, changes("train")] = Field(128, ge=1)
    """Responses per optimizer step; the loss is the mean over all their response tokens."""
    epochs: Annotated[int, changes("train")] = Field(1, ge=1, le=1000)
    """Passes over the selected responses per iteration."""
    weight_decay: Annotated[float, changes("train")] = Field(0.0, ge=0, le=1)
    """AdamW's decay of the weights."""
    betas: Annotated[tuple[Beta, Beta], changes("train")] = (0.9, 0.999)
    """AdamW's decay rates of the moments."""
    max_grad_norm: Annotated[float, changes("train")] = Field(1.0, gt=0)
    """Gradients are clipped to this global norm."""
    max_padding: Annotated[float, changes("train")] = Field(0.1, ge=0, lt=1)
    """Largest share of padding in a micro-batch."""
    packing: Annotated[bool, FREE] = False
    """Put the responses of a micro-batch end to end in one row, where none sees another, instead of padding
    them: the same loss and gradients up to rounding. Worth it where lengths differ much; see docs/models.md.
    """
    tokens_per_micro_batch: Annotated[int, FREE] = Field(16_384, ge=16)
    """Tokens in one forward and backward, padding included; lower it when memory is short."""
    checkpoint_every: Annotated[int, FREE] = Field(500, ge=1)
    """Optimizer steps between checkpoints inside an iteration: what a killed training loses at most."""
    checkpoint_minutes: Annotated[float, FREE] = Field(20.0, gt=0)
    """Minutes after which there is a checkpoint all the same."""
    keep_checkpoints: Annotated[int | None, FREE] = Field(None, ge=1)
    """Newest iterations whose policies are kept, besides the best on the first test set; null keeps all."""

    @model_validator(mode="after")
    def _moments_of_8_bits_are_whole(self) -> Self:
        if self.trainer == "deepspeed" and self.optimizer != "adamw":
            raise ValueError(
                f"optimizer is {self.optimizer}, which trainer deepspeed does not have; take adamw, whose "
                "moments it shares out or offloads, or single"
            )
        return self


class Deepspeed(Section):
    """The trainer `deepspeed`: one process for each GPU, all on this machine."""

    ranks: Annotated[int | None, FREE] = Field(None, ge=1, le=1024)
    """Processes that train together; null starts one for each GPU, and one on a CPU."""
    zero_stage: Annotated[Literal[1, 2, 3], FREE] = 2
    """What each rank holds a share of instead of all: the optimizer's state (1), and gradients (2), and
    weights (3).
    """
    offload_optimizer: Annotated[bool, FREE] = False
    """Hold the optimizer's state in the CPU's memory, and take its steps there."""
    offload_weights: Annotated[bool, FREE] = False
    """Hold weights in the CPU's memory while they are not needed; takes zero_stage 3."""
    stalled_seconds: Annotated[float, FREE] = Field(1800.0, gt=0)
    """The stage ends with an error when no step has come for so long; started again, it goes on."""

    @model_validator(mode="after")
    def _weights_are_shared_before_they_go(self) -> Self:
        if self.offload_weights and self.zero_stage != 3:
            raise ValueError(f"offload_weights needs zero_stage 3, and it is {self.zero_stage}")
        return self
