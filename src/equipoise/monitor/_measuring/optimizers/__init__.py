"""What is known of the optimizer that is watched: which one it is, what its step did, and what the theory says of it."""
