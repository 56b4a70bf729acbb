"""Feature: whether runs differ, with paired intervals and tests."""
