"""Results that others made, from tables and event folders to the verdict that a study gives."""
