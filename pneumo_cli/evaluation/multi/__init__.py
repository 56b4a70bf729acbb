"""Classifiers with a logit for each of K classes: exclusive classes (multiclass), or labels (multilabel)."""
