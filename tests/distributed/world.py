"""Tests that run in several processes at once: real ones, over gloo.

The body of a test that is decorated with :func:`world` runs on every process. All tests of a file that ask for as many
processes run in the same ones, which are started once. What one world leaves in :func:`folder` others find there.
"""

from __future__ import annotations

import atexit
import importlib
import json
import multiprocessing
import os
import shutil
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache, wraps
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

PATIENCE = timedelta(seconds=60)
"""Of a collective that another process does not join."""

PRELOADED = ["torch._dynamo", "torch.distributed.fsdp", "torch.distributed.checkpoint.state_dict", "torch.nn.parallel"]
"""What takes seconds to import, once for all processes."""

FOLDER = "EQUIPOISE_TEST_FOLDER"

_bodies: dict[tuple[str, int], dict[str, Callable[[], None]]] = {}


def world(size: int, cases: Sequence[Any] = (), after: int = 0) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run the body of a test on `size` processes; with cases, once for each, as its argument.

    Where it needs what the tests on `after` processes left, these run before.
    """

    def decorate(body: Callable[..., None]) -> Callable[..., None]:
        module = body.__module__
        known = _bodies.setdefault((module, size), {})
        names = [f"{body.__name__}[{case}]" for case in cases] or [body.__name__]
        for name, case in zip(names, cases or [None], strict=True):
            known[name] = (lambda case=case: body(case)) if cases else body

        @wraps(body)
        def test(name: str) -> None:
            if after:
                run(module, after)
            found = run(module, size)
            assert found[name] is None, found[name]

        del test.__wrapped__  # pytest would take its arguments for fixtures
        return pytest.mark.parametrize("name", names, ids=[str(case) for case in cases] or ["all"])(test)

    return decorate


@cache
def folder() -> Path:
    """One that all processes share; it is gone at the end."""
    if FOLDER in os.environ:
        return Path(os.environ[FOLDER])
    made = mkdtemp()
    atexit.register(shutil.rmtree, made)
    return Path(made)


@cache
def run(module: str, size: int) -> dict[str, str | None]:
    """What went wrong in every test of a module that runs on `size` processes: a traceback, or None."""
    reports_of = folder() / f"{module}-{size}"
    reports_of.mkdir()
    multiprocessing.set_forkserver_preload(PRELOADED)
    arguments = (size, module, str(folder()), str(reports_of))
    torch.multiprocessing.start_processes(_work, arguments, nprocs=size, start_method="forkserver")
    reports = [json.loads((reports_of / f"{rank}.json").read_text()) for rank in range(size)]
    found: dict[str, str | None] = {}
    for name in _bodies[module, size]:
        failed = [f"on process {rank}: {report[name]}" for rank, report in enumerate(reports) if report.get(name)]
        done = all(name in report for report in reports)
        found[name] = "\n".join(failed) or (None if done else "did not run: a test before it failed")
    return found


def _work(rank: int, size: int, module: str, shared: str, reports: str) -> None:
    """One process: every test in turn, until one fails, after which the processes may not be in step."""
    os.environ[FOLDER] = shared
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{reports}/store", PATIENCE, size, rank)
    importlib.import_module(module)
    report: dict[str, str | None] = {}
    for name, body in _bodies[module, size].items():
        torch.manual_seed(0)
        try:
            body()
        except BaseException:
            report[name] = traceback.format_exc()
            break
        report[name] = None
    (Path(reports) / f"{rank}.json").write_text(json.dumps(report))
    if any(report.values()):
        os._exit(0)  # now, so that no other process waits for this one
    dist.barrier()
    dist.destroy_process_group()
