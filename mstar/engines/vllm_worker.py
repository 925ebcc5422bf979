"""What is put into vLLM's worker processes: tokens that a response must not hold get no probability at all.

vLLM's own means (a logit bias, allowed tokens or bad words for each request) cost time for every request and
token, and the log-probabilities that it returns would still count the banned tokens in.
"""

from collections.abc import Sequence
from typing import Any

import torch


class BanningWorker:
    """Becomes a base class of vLLM's worker (its option `worker_extension_cls`)."""

    model_runner: Any

    def ban_tokens(self, banned: Sequence[int]) -> None:
        """From now on. The first of them is sampled all the same where logits are not finite: it says so."""
        model = self.model_runner.model
        compute = model.compute_logits
        tokens = torch.tensor(banned, device=self.model_runner.device)  # once: a copy waits for the GPU

        def compute_logits(*args: Any, **kwargs: Any) -> torch.Tensor | None:
            logits: torch.Tensor | None = compute(*args, **kwargs)
            return None if logits is None else without(logits, tokens)

        model.compute_logits = compute_logits


def without(logits: torch.Tensor, banned: torch.Tensor) -> torch.Tensor:
    """`logits` (rows, vocabulary), changed in place: minus infinity for what is banned. In rows that hold a
    value which is not finite, the first banned token is all that is left.
    """
    broken = ~torch.isfinite(logits.sum(-1, dtype=torch.float32))
    logits.masked_fill_(broken[:, None], -torch.inf)
    logits.index_fill_(1, banned, -torch.inf)
    logits.index_copy_(1, banned[:1], torch.where(broken, 0.0, -torch.inf).to(logits.dtype)[:, None])
    return logits
