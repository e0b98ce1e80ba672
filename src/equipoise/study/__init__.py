"""Compare optimizers on a user's own metric: arms x learning rates x seeds, with paired statistics and a report."""
