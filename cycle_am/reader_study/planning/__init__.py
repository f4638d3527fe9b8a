"""How many readers and cases a study needs; rehearsals with simulated readers."""
