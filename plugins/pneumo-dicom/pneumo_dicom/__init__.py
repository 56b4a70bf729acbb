"""pneumo plugin: DICOM radiographs as gray levels."""
