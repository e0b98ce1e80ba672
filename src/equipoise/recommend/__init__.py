"""``equipoise recommend``: from what was seen of a training run to an exponent, with every number behind it."""
