"""What an explanation is written to: pictures, volumes, pages, DICOM."""
