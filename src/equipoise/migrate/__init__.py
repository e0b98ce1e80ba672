"""Continue a run with another optimizer: conversions between the optimizers of torch and of this package.

- :func:`convert_optimizer` converts an optimizer in the middle of a run.
- :func:`convert_state_dict` converts the state dict of an optimizer.
- :func:`convert_checkpoint` converts the optimizer in a checkpoint file; everything else in the file stays as it is.
"""

from equipoise.migrate._conversion import ConvertedCheckpoint, convert_checkpoint, convert_optimizer, convert_state_dict

__all__ = ["ConvertedCheckpoint", "convert_checkpoint", "convert_optimizer", "convert_state_dict"]
