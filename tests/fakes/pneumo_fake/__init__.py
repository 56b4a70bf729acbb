"""A plugin distribution for the tests of the core: found, loaded and run as a stranger's would be."""
