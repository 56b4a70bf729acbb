"""A model: pneumo run cnn --plugin lenet.py --model lenet"""

from pneumo_cli.api import ModelSpec, hookimpl

api_version = 1


@hookimpl
def register_models():
    yield ModelSpec(name="lenet", kind="classifier", summary="LeNet-5", factory="lenet:build")


def build(channels, outputs):
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(channels, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(512, 84),
        nn.ReLU(),
        nn.Linear(84, outputs),
    )
