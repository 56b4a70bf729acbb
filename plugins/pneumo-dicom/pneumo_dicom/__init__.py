"""Feature: DICOM radiographs as gray levels."""
