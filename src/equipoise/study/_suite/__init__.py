"""Several tasks, one decision: a suite of studies that share their arms, run one after another and judged together."""
