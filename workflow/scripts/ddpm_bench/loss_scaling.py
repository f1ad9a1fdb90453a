"""Loss scaling for fp16, of a model that may lie in parts in several processes."""

from collections.abc import Iterable

import torch
import torch.distributed as dist

from ddpm_bench.training.optimizer import FIRST_SCALE, next_scale


class LossScaler:
    """Dynamic loss scaling (Micikevicius et al. 2018): all processes skip a step, or none does.

    torch's ShardedGradScaler would do, but not with the fused Adam of sharded weights (torch 2.14).
    Where `enabled` is false the scale stays 1 and no step is skipped. agreeing: each process sees
    the gradients of its part of the model only, so they have to ask each other.
    """

    def __init__(self, device: torch.device, enabled: bool, agreeing: bool) -> None:
        self._enabled = enabled
        self._agreeing = agreeing
        self.scale = torch.tensor(FIRST_SCALE if enabled else 1.0, device=device)
        self._good_steps = torch.zeros((), device=device)  # since the scale last changed

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """What to call backward() on."""
        return loss * self.scale if self._enabled else loss

    @torch.no_grad()
    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Update the weights with the gradients of the scaled loss, unless some are not finite."""
        if not self._enabled:
            optimizer.step()
            return
        gradients = list(_gradients(optimizer))
        skipped = (~torch.isfinite(torch.nn.utils.get_total_norm(gradients))).float()
        if self._agreeing:
            dist.all_reduce(skipped, dist.ReduceOp.MAX)
        if optimizer.defaults["fused"]:
            # The fused kernels divide by grad_scale and leave all as it is where found_inf is 1.
            optimizer.grad_scale, optimizer.found_inf = self.scale, skipped
            optimizer.step()
        elif not skipped:
            torch._foreach_div_(gradients, self.scale)
            optimizer.step()
        self.scale, self._good_steps = next_scale(self.scale, self._good_steps, skipped > 0)


def _gradients(optimizer: torch.optim.Optimizer) -> Iterable[torch.Tensor]:
    """Of this process: its shards of sharded weights."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                yield local(parameter.grad)


def local(tensor: torch.Tensor) -> torch.Tensor:
    """What this process holds of a tensor."""
    # A DTensor; its class takes half a second to import.
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor
