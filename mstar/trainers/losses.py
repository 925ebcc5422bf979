"""What training minimises, behind one forward.

A loss is a function of the model, the padded inputs and their labels; it returns the sum over all labels, so
that a batch may be cut anyhow. `ModelWithLoss` makes that the forward of a module: DistributedDataParallel
and ZeRO see gradients only of what went through the forward of the module that they wrap, and ZeRO gathers
weights for nothing else.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mstar.trainers.rows import IGNORED

Loss = Callable[[Any, dict[str, Tensor], Tensor], Tensor]
"""(model, inputs, labels (rows, length)) -> the loss summed over all positions that have a label."""


class ModelWithLoss(nn.Module):
    """A model and its loss as one module."""

    def __init__(self, model: nn.Module, loss: Loss, dtype: torch.dtype = torch.float32) -> None:
        """`dtype` is that of the arithmetic; the weights keep their own."""
        super().__init__()
        self.model = model
        self.loss = loss
        self.dtype = dtype

    def forward(self, inputs: dict[str, Tensor], labels: Tensor | None) -> Tensor:
        """The summed loss, a scalar; without labels the logits (rows, vocabulary) of what comes next."""
        mixed, device = self.dtype != torch.float32, inputs["input_ids"].device.type
        with torch.autocast(device, self.dtype if mixed else torch.bfloat16, enabled=mixed):
            if labels is None:
                return next_logits(self.model, inputs)
            return self.loss(self.model, inputs, labels)


def response_loss(model: Any, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
    """Negative log-likelihood of the labels as next tokens.

    Logits are made for the learned positions only: vocabulary times all tokens would not fit.
    """
    hidden = model.model(**inputs, use_cache=False).last_hidden_state
    learned = labels != IGNORED
    logits = model.get_output_embeddings()(hidden[learned])
    return functional.cross_entropy(logits.float(), labels[learned], reduction="sum")


def next_logits(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Logits (rows, vocabulary) of the token after the last; rows are not padded on the right."""
    logits: Tensor = model(**inputs, use_cache=False, logits_to_keep=1).logits
    return logits[:, -1]
