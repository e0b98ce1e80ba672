"""What is seen of a run at a step: from the kernels to plain numbers."""
