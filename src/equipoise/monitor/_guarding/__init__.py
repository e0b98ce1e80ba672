"""What is done about trouble: policies, remedies, and good states to go back to."""
