"""pneumo plugin: the source report's five tasks, run anew and set beside the report's numbers."""
