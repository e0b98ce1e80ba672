"""What a Ray task does first. Ray sends this function by value: a node that lacks the package must be able to say so."""

from __future__ import annotations

from typing import Any


def arrive(order: bytes, software: dict[str, str]) -> Any:
    """Carry out an order, if this node can.

    Args:
        order: a pickled :class:`~equipoise.study._engines.node.Order`.
        software: the version that each package must have, so that the trial is the same trial on every node.

    Returns:
        The :class:`~equipoise.study._engines.node.Outcome`; or why this node cannot, and what to do, in a sentence.
    """
    import pickle
    import platform
    from importlib.metadata import PackageNotFoundError, version

    different: list[str] = []
    for package, wanted in software.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            found = "none"
        if found != wanted:
            different.append(f"{found} of {package} where it needs {wanted}")
    if different:
        extras = {"equipoise": "[study,ray]"}
        pins = " ".join(f"'{package}{extras.get(package, '')}=={wanted}'" for package, wanted in software.items())
        return (
            f"node {platform.node()} of the Ray cluster has {' and '.join(different)}, so that its trials would be others: run"
            f" pip install {pins} there"
        )
    from equipoise.study._engines.node import carry_out

    return carry_out(pickle.loads(order))  # noqa: S301  (from the study itself, through Ray, which pickles everything)
