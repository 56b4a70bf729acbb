"""Feature: generating images with trained models, and evaluating them."""
