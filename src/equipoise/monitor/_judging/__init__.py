"""What is wrong with a run, from its readings: pure functions of numbers."""
