"""From a finished run to pages and figures that a person reads."""
