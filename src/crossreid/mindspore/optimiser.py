"""MindSpore's optimisers with the groups, rates and state of torch's.

The groups are those that `training.optimisation` makes for the same method, so rates by part, weight decay and what is not
decayed are the recipe's. MindSpore's operators compute the updates, a parameter at a time: its own `experimental.optim` compiles
one graph over all parameters first, which takes longer than a small run. The state is kept in torch's optimiser
whenever a checkpoint is written, and taken from there on resuming.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

from crossreid.mindspore.network import as_cell_tensor
from crossreid.training.optimisation import OptimiserOptions

ADAM, SGD = ("exp_avg", "exp_avg_sq"), ("momentum_buffer",)


class CellOptimiser:
    """Moves the parameters of a cell as the torch optimiser `twin` would move those of the method.

    Args:
        twin: torch's optimiser over the method's parameters; rates and weight decays are read from its groups at each step.
        parameters: those of the cell, by the id of the torch parameter that each stands for.
    """

    def __init__(self, twin: Optimizer, parameters: Mapping[int, Any], options: OptimiserOptions) -> None:
        import mindspore
        from mindspore import ops

        self.twin, self.options, self.updates = twin, options, 0
        self.of_torch = [parameter for group in twin.param_groups for parameter in group["params"]]
        own = [parameters[id(parameter)] for parameter in self.of_torch]
        self.parameters = mindspore.ParameterTuple(own)  # in the order of the gradients
        self.moments = [
            {
                kind: mindspore.Parameter(ops.zeros_like(parameter), name=f"{kind}.{parameter.name}")
                for kind in self.kinds
            }
            for parameter in own
        ]
        self.adam = ops.Adam()

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is kept of each parameter, by torch's names."""
        return SGD if self.options.name == "sgd" else ADAM

    def step(self, gradients: Sequence[Any]) -> None:
        """Move the parameters along `gradients`, at the present rates of `twin`."""
        from mindspore import ops

        self.updates += 1
        following = iter(zip(self.parameters, self.moments, gradients, strict=True))
        for group in self.twin.param_groups:
            decay, rate = float(group["weight_decay"]), float(group["lr"])
            update = self._momentum(rate) if self.options.name == "sgd" else self._adam(rate, group)
            for _ in group["params"]:
                parameter, moments, gradient = next(following)
                if decay and self.options.name == "adamw":
                    ops.assign(parameter, parameter * (1 - rate * decay))
                elif decay:
                    gradient = gradient + decay * parameter
                update(parameter, moments, gradient)

    def keep(self, steps: int) -> None:
        """Write the state after so many updates into `twin`, as if it had made them."""
        if steps == 0:
            return
        for parameter, moments in zip(self.of_torch, self.moments, strict=True):
            kept = {kind: torch.from_numpy(np.array(moment.asnumpy())) for kind, moment in moments.items()}
            count = {} if self.options.name == "sgd" else {"step": torch.tensor(float(steps))}
            self.twin.state[parameter] = {**count, **kept}

    def take_up(self, steps: int) -> None:
        """Take the state after so many updates from `twin`, whose checkpoint was restored."""
        self.updates = steps
        for parameter, moments in zip(self.of_torch, self.moments, strict=True):
            kept = self.twin.state.get(parameter, {})
            for kind, moment in moments.items():
                if kind in kept:
                    moment.set_data(as_cell_tensor(kept[kind]))

    def _momentum(self, rate: float) -> Callable[..., object]:
        """Not by the operator `ApplyMomentum`, which on a CPU takes no notice of Nesterov's form."""
        from mindspore import ops

        momentum, nesterov = self.options.momentum, self.options.nesterov

        def update(parameter: Any, moments: Mapping[str, Any], gradient: Any) -> None:
            buffer = moments["momentum_buffer"]
            ops.assign(buffer, momentum * buffer + gradient)
            ops.assign(parameter, parameter - rate * (gradient + momentum * buffer if nesterov else buffer))

        return update

    def _adam(self, rate: float, group: Mapping[str, Any]) -> Callable[..., object]:
        first, second = group["betas"]
        # torch adds epsilon to the root of the corrected moment, the operator to that of the moment as it is; and it would correct
        # in float32, which of 1 - 0.999 leaves four digits. So the operator is told that there is nothing to correct.
        corrected = (1 - second**self.updates) ** 0.5
        values = (0.0, 0.0, rate * corrected / (1 - first**self.updates), first, second, group["eps"] * corrected)
        given = [_scalar(value) for value in values]
        return lambda parameter, moments, gradient: self.adam(
            parameter, *(moments[kind] for kind in ADAM), *given, gradient
        )


def _scalar(value: float) -> Any:
    """As a tensor: of another number MindSpore would make another operator."""
    import mindspore

    return mindspore.Tensor(value, mindspore.float32)
