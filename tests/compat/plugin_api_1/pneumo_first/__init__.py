"""A third party's plugin for API version 1. Frozen: see README.md."""
