"""LIDC-IDRI: its annotations, which of them are one lesion, and the windows cut around it."""
