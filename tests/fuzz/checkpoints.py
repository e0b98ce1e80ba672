"""Checkpoints that are nearly right: state dicts in which a few values are replaced, and files in which a few bytes are."""

import copy
import io
from collections import Counter, OrderedDict
from functools import cache

import torch
from hypothesis import strategies as st
from torch.nn import Parameter
from torch.optim import SGD, Adam, AdamW, RMSprop

from equipoise import SMES, Equipoise, KAdam


def nested(levels):
    inside = []
    for _ in range(levels):
        inside = [inside]
    return inside


def loop():
    found = [1]
    found.append(found)
    return found


MATRIX = torch.ones(2, 3)
ODD = [
    # What is no number, or none that is accepted.
    None, "x", "", True, 0, 1, -1, 3, 0.5, 1.0, -0.1, float("nan"), float("inf"), 2**53 + 1, 2**70, 10**300, 1e300, 1e-320,
    b"bytes", "\x1b[31m\n\u202e", "\ud800", "a" * 5000, torch.float32,
    # Containers.
    [], {}, (), [1, 2], (0.9, 0.999), (0.9, 1.0), [[0.9, 0.9], [0.9, 0.9]], {"a": 1}, {(1, 2): 3}, OrderedDict(a=1),
    Counter("ab"), {1, 2}, torch.Size([2, 2]), nested(30), nested(150), loop(),
    # Tensors.
    torch.tensor(2.0), torch.tensor(float("nan")), torch.tensor(-3), torch.tensor(1j), torch.ones(3), torch.ones(0), MATRIX,
    0 * MATRIX, -MATRIX, MATRIX * float("nan"), MATRIX * float("inf"), MATRIX.double() * 1e300, MATRIX.double() * 1e-320,
    MATRIX.long(), MATRIX.bool(), MATRIX.to(torch.complex64), MATRIX.bfloat16(), MATRIX.to(torch.float8_e4m3fn),
    MATRIX.to_sparse(), MATRIX.to("meta"), MATRIX.T, Parameter(MATRIX), torch.ones(1).expand(10**6, 10**6),
]  # fmt: skip
KEYS = [
    "betas", "lr", "exponent", "stages", "reference", "step", "exp_avg", "exp_avg_sq_2", "exp_avg_sq_99", "born_exp_avg",
    "params", "param_names", "state", "param_groups", "x", "\n", 0, -1, (1, 2), None, 2.5,
]  # fmt: skip


@cache
def saved():
    """State dicts of every optimizer that is read, after three steps."""
    found = []
    for make, arguments in [
        (AdamW, {}), (Adam, {"lr": torch.tensor(0.01)}), (RMSprop, {}), (SGD, {"lr": 0.1, "momentum": 0.9}), (SGD, {"lr": 0.1}),
        (SMES, {}), (KAdam, {"k": 2}), (Equipoise, {"exponent": (0.25, 0.5), "stages": 2, "betas": ((0.9, 0.99), (0.8, 0.9))}),
    ]:  # fmt: skip
        parameters = [Parameter(torch.ones(2, 3)), Parameter(torch.ones(4)), Parameter(torch.ones(2, 2, dtype=torch.complex64))]
        optimizer = make([{"params": parameters[:2]}, {"params": parameters[2:], "lr": 0.5}], **arguments)
        for _ in range(3):
            for parameter in parameters:
                parameter.grad = torch.full_like(parameter, 0.1)
            optimizer.step()
        found.append(optimizer.state_dict())
    return found


def places(tree, path=()):
    """The keys that lead to everything in a tree of dictionaries and lists."""
    if isinstance(tree, (dict, list)):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield (*path, key)
            yield from places(tree[key], (*path, key))


@st.composite
def contents(draw):
    """A training checkpoint in which up to four values are others, missing, or too many."""
    content = {"epoch": 1, "optimizer": copy.deepcopy(draw(st.sampled_from(saved())))}
    everywhere = list(places(content))
    for _ in range(draw(st.integers(0, 4))):
        change(
            content, draw(st.sampled_from(everywhere)), draw(st.sampled_from(ODD)), draw(st.sampled_from([*KEYS, *[...] * 30]))
        )
    return content


def change(content, path, odd, key):
    """Replace one value by an odd one; or, with a key instead of ..., give it that key, or add the odd value under it."""
    container = content
    for step in path[:-1]:
        if not has(container, step):
            return  # an earlier change took it away
        container = container[step]
    if not has(container, path[-1]):
        return
    if isinstance(container, list):
        container[path[-1] : path[-1] + 1] = [copy.deepcopy(odd)]
    elif key is ...:
        container[path[-1]] = copy.deepcopy(odd)
    elif odd is None:
        container[key] = container.pop(path[-1])
    else:
        container[key] = copy.deepcopy(odd)


def has(container, key):
    if isinstance(container, list):
        return isinstance(key, int) and 0 <= key < len(container)
    return isinstance(container, dict) and key in container


def written(content, present_format=True):
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=present_format)
    return file.getvalue()


@st.composite
def damaged(draw):
    """A file that was right, of which a part is missing, is another, or is there twice."""
    content = bytearray(written({"optimizer": draw(st.sampled_from(saved()))}, draw(st.booleans())))
    for _ in range(draw(st.integers(1, 5))):
        if not content:
            break
        place = draw(st.integers(0, len(content) - 1))
        how = draw(st.sampled_from(["flip", "flip", "flip", "cut", "remove", "repeat"]))
        if how == "flip":
            content[place] = draw(st.integers(0, 255))
        elif how == "cut":
            del content[place:]
        elif how == "remove":
            del content[place : place + draw(st.integers(1, 100))]
        else:
            content[place:place] = content[place : place + draw(st.integers(1, 100))]
    return bytes(content)


def files():
    """The bytes of a file that is nearly a checkpoint."""
    return st.one_of(contents().map(written), contents().map(written), damaged())
