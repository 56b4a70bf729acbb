"""Synthetic chest radiographs of small children, drawn from anatomy: pneumo's embedded default dataset."""
