"""An extension: python main.py fit --trainer.callbacks+=sam.Sam --trainer.callbacks.rho=0.1"""

from functools import partial

import torch
from jsonargparse.typing import PositiveFloat
from lightning import Callback


class Sam(Callback):
    """Foret 2021.

    Args:
        rho: distance at which the gradient is taken
    """

    def __init__(self, rho: PositiveFloat = 0.05):
        self.rho, self.kept = float(rho), {}

    def state_dict(self):
        return {"rho": self.rho}

    def load_state_dict(self, state):
        if state["rho"] != self.rho:
            raise ValueError(f"this run has been trained with rho = {state['rho']}")

    def on_train_start(self, trainer, module):
        self.step, self.log = module.training_step, module.log
        module.training_step = partial(self.twice, trainer, module)

    def on_train_end(self, trainer, module):
        module.training_step = self.step

    def twice(self, trainer, module, batch, index):
        with torch.random.fork_rng():
            outputs = self.step(batch, index)
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        weights = [weight for weight in module.parameters() if weight.requires_grad]
        gradients = [
            torch.zeros_like(weight) if gradient is None else trainer.strategy.reduce(gradient)
            for weight, gradient in zip(
                weights, torch.autograd.grad(loss, weights, allow_unused=True), strict=True
            )
        ]
        self.kept = {weight: weight.detach().clone() for weight in weights}
        length = torch.nn.utils.get_total_norm(gradients)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.data.add_(gradient, alpha=self.rho / float(length))
        torch.clear_autocast_cache()
        module.log = lambda *arguments, **options: None
        try:
            return self.step(batch, index)
        finally:
            module.log = self.log

    def on_after_backward(self, trainer, module):
        for weight, value in self.kept.items():
            weight.data.copy_(value)
        torch.clear_autocast_cache()
