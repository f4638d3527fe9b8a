"""A phantom of lung nodules: scenes drawn by chance, rendered as CT, written as DICOM."""
