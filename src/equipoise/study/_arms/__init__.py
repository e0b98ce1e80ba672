"""What an arm can be: the space that it is tuned over, ready-made optimizers, schedules, and Muon split by role."""
