"""The states of all random number generators: Python's, the global one of NumPy, and those of torch on the CPU and on CUDA."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def random_state() -> dict[str, Any]:
    """The present states."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 (the global numbers are what models and data sets draw from)
    return {
        "python": random.getstate(),
        "numpy": (kind, np.asarray(keys).tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put all generators into states that :func:`random_state` gave. GPUs that this machine does not have need none."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    torch.cuda.set_rng_state_all(state["cuda"][: torch.cuda.device_count()])


def is_random_state(state: Mapping[str, Any]) -> bool:
    """Whether :func:`set_random_state` takes a value, asked of generators that nobody uses."""
    try:
        random.Random().setstate(state["python"])  # noqa: S311
        np.random.RandomState().set_state(state["numpy"])
        torch.Generator().set_state(state["torch"])
        cuda = state["cuda"]
        return isinstance(cuda, list) and all(isinstance(each, Tensor) and each.dtype == torch.uint8 for each in cuda)  # pyright: ignore[reportUnknownVariableType]
    except Exception:  # each generator has its own ways to refuse
        return False
