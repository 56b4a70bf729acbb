"""Dataset: synthetic paediatric chest radiographs, generated from anatomy; the default."""
