"""A plugin distribution for the tests of the core: discovered, loaded and run like a third party's."""
