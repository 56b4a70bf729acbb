"""Networks that run in milliseconds. ``tiny_net`` has BatchNorm and dropout, which make exact resumption hard."""

from torch import nn


def tiny_net(channels: int = 3, outputs: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.AdaptiveMaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32, outputs),
    )


def plain_net(channels: int = 3, outputs: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32, outputs),
    )


def pooled_net(channels: int = 3, outputs: int = 1) -> nn.Module:
    """BatchNorm of one value per channel, as of a ResNet at 32 px."""
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, stride=2, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.BatchNorm2d(8),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(8, outputs),
    )


class TwoNets(nn.Module):
    def __init__(self, latent: int = 4) -> None:
        super().__init__()
        self.generator = nn.Sequential(
            nn.Linear(latent, 64), nn.Unflatten(1, (1, 8, 8)), nn.Upsample(scale_factor=4)
        )
        self.discriminator = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(64, 1))
