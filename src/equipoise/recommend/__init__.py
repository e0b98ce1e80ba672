"""Which exponent balances a run: from what was seen of its gradients, with every number behind it."""

__all__: list[str] = []
