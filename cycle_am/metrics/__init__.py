"""Numbers only: what is measured of classifiers, generators and explanations."""
