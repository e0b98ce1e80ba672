"""One script per claim of the two papers, each ending in a verdict; ``python -m reproductions`` runs them all."""
