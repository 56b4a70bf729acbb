"""The dataset ``chest-xray``: chest radiographs of children with and without pneumonia (Kermany 2018)."""
