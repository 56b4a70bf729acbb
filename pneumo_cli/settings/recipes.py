"""Values shared by the presets of several trainers. Imported at discovery, so it imports nothing.

``STRONG`` performed best on validation images of other patients and held up on images as another scanner might have
taken them; the README shows the effect of each part (``examples/measure_recipes.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

STRONG: Mapping[str, Any] = MappingProxyType(
    {
        "split": "patient",
        "monitor": "auc",
        "operating_point": "balanced",
        "optimizer": "adamw",
        "weight_decay": 0.05,
        "decay_norms": False,
        "schedule": "cosine",
        "warmup": 0.5,
        "ema": 0.99,
        "label_smoothing": 0.05,
        "subtypes": True,
        "class_weights": "none",
        "flip_tta": True,
        "rotation": 10.0,
        "contrast": 0.3,
        "zoom": 0.2,
        "shift": 0.06,
        "gamma": 0.3,
        "border": 0.1,
        "blur": 1.0,
    }
)
"""What the presets ``strong`` of the classification trainers have in common, whatever the network."""
