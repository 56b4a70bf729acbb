"""Feature: new plugin packages, and checks of plugins against the contract."""
