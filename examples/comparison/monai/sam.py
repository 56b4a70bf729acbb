import ignite.distributed as idist
import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils import CommonKeys


class SamTrainer(SupervisedTrainer):
    def __init__(self, rho=0.05, **options):
        super().__init__(**options)
        if rho <= 0:
            raise ValueError(f"rho has to be positive, not {rho}")
        self.rho, self.kept = rho, {}
        self.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self.restore)

    def _iteration(self, engine, batch):
        inputs, targets = self.prepare_batch(batch, self.state.device, self.non_blocking, **self.to_kwargs)
        self.network.train()
        amp = torch.autocast(self.state.device.type, enabled=self.amp, **self.amp_kwargs)
        with torch.random.fork_rng(), amp:
            loss = self.loss_function(self.inferer(inputs, self.network), targets).mean()
        weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        gradients = [
            torch.zeros_like(weight) if gradient is None else idist.all_reduce(gradient)
            for weight, gradient in zip(
                weights, torch.autograd.grad(loss, weights, allow_unused=True), strict=True
            )
        ]
        self.kept = {weight: weight.detach().clone() for weight in weights}
        length = torch.nn.utils.get_total_norm(gradients)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.data.add_(gradient, alpha=self.rho / float(length))
        outputs = super()._iteration(engine, batch)
        for output in outputs:
            output[CommonKeys.LOSS] = loss.detach()
        return outputs

    def restore(self, engine):
        for weight, value in self.kept.items():
            weight.data.copy_(value)

    def state_dict(self):
        return {**super().state_dict(), "rho": self.rho}

    def load_state_dict(self, state):
        if state["rho"] != self.rho:
            raise ValueError(f"this run has been trained with rho = {state['rho']}")
        super().load_state_dict(state)
