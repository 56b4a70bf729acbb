"""Data: records, splits, files, decoding, caches, augmentation, batches (loader.py)."""

from pneumo_cli._exports import exporting

__getattr__ = exporting(__name__)
