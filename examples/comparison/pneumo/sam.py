"""An extension: pneumo run cnn --plugin sam.py --with sam --sam-rho 0.1"""

from pydantic import Field

from pneumo_cli.api import ExtensionSpec, hookimpl
from pneumo_cli.settings import PartSettings

api_version = 1


@hookimpl
def register_extensions():
    yield ExtensionSpec(name="sam", summary="Foret 2021", factory="sam:Sam", settings="sam:SamSettings")


class SamSettings(PartSettings):
    rho: float = Field(0.05, gt=0, description="distance at which the gradient is taken")


class Sam:
    def __init__(self, settings):
        self.rho, self.kept = settings.rho, {}

    @hookimpl
    def around_train_step(self, run):
        import torch

        def twice(train_step, batch):
            with torch.random.fork_rng():
                metrics = train_step(batch)
            train_step(batch)
            return metrics

        return twice

    @hookimpl
    def around_optimize(self, run):
        import torch

        def sharp(optimize, loss, name):
            if self.kept:
                run.backward(loss, name)
                for weight, value in self.kept.items():
                    weight.data.copy_(value)
                self.kept = {}
                run.update(name)
            else:
                gradients = run.gradients(loss, name)
                self.kept = {weight: weight.detach().clone() for weight in gradients}
                length = torch.nn.utils.get_total_norm(list(gradients.values()))
                for weight, gradient in gradients.items():
                    weight.data.add_(gradient, alpha=self.rho / float(length))
            torch.clear_autocast_cache()

        return sharp
