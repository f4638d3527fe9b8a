"""What the commands do: train, evaluate, compare, aggregate, explain, prepare."""
