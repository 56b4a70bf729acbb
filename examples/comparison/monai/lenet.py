from torch import nn


class LeNet(nn.Sequential):
    def __init__(self, channels=1, outputs=1):
        super().__init__(
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
