"""Dataset: paediatric chest radiographs with and without pneumonia (Kermany 2018)."""
