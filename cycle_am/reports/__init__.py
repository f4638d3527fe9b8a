"""Words and pictures only: what is shown of the numbers."""
