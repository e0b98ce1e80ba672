"""Built-in tasks on real data that is part of an installed package: nothing is downloaded.

A seed draws which examples are for training, validation and test, the initial weights, and the order of the batches. Every task
reports after each epoch `loss` (its mean over the epoch's batches, while they were trained on), `validation_loss`, `test_loss`,
and what its docstring says, of the test under its own name and of the validation with `validation_` before it. Validation
is there to choose hyperparameters and for controllers; only the verdict looks at the test.
"""
