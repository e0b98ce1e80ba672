"""What a study concludes from numbers: paired comparisons, divergence, the cost of tuning, and how many seeds are enough."""
