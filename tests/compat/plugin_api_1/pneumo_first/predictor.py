"""A model of another format: the mean gray level."""

import json

from pneumo_cli.evaluation import DecisionRule
from pneumo_cli.inference import Predictor


class Brightness(Predictor):
    """Bright images are of class 1."""

    rule = DecisionRule(("dark", "bright"))
    point = rule.point
    sizes = (32,)

    def __init__(self, path, request):
        self.threshold = json.loads(path.read_text())["threshold"]
        self.facts = {"run": str(path), "model": "brightness", "checkpoint": request.checkpoint}

    def logits(self, images):
        return images[32].mean((1, 2)) / 255 - self.threshold

    def maps(self, images, positive):
        raise NotImplementedError
