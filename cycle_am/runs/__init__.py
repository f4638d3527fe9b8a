"""What a training leaves in its folder, and what is found there again."""
