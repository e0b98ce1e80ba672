"""The GPU kernel where there is no GPU: its conformance under Triton's interpreter, its compilation for GPUs all the same."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from equipoise import Equipoise, rules
from equipoise.errors import ArgumentError
from equipoise.optim import _kernels as kernels
from equipoise.optim._groups import values_for_step
from equipoise.optim._kernels import gpu

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is made for Linux alone")

GPU = torch.device("cuda")


def test_it_conforms_compiled_where_there_is_a_gpu_and_interpreted_elsewhere():
    environment = {**os.environ, "TRITON_INTERPRET": "0" if torch.cuda.is_available() else "1"}
    environment.pop("COVERAGE_PROCESS_CONFIG", None)  # the interpreter would take three times as long
    command = [sys.executable, "-m", "pytest", "-q", "tests/optim/kernels/gpu_conformance.py"]
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[3-9]\d passed|\d{3} passed", done.stdout)


def test_the_tables_are_the_same_on_both_sides():
    code = gpu.device_code()
    assert [getattr(code, name.upper()).value for name in gpu.TENSOR.names] == list(range(code.TENSOR.value))
    assert [getattr(code, name.upper()).value for name in gpu.MEMORY.names] == list(range(code.MEMORY.value))
    for name in ("GROUP", "STAGE", "NUMBERS", "STAGE_NUMBERS"):
        assert getattr(code, name).value == getattr(gpu, name)


class Absent:
    """What Triton asks of a GPU before it launches anything."""

    def __init__(self, target):
        self.get_current_target = lambda: target
        self.get_current_device = lambda: 0
        self.get_current_stream = lambda device: 0


KINDS = {
    # theta, gradient, moments; exponents; reference, stochastic, measured
    "Adam": (torch.float32, torch.float32, torch.float32, (0.5,), "none", False, False),
    "SMES": (torch.float32, torch.float32, torch.float32, (0.25,), "initial", False, True),
    "2-Adam in half precision": (torch.bfloat16, torch.bfloat16, torch.float32, (0.5, 0.125), "none", True, False),
    "everything at random": (torch.float16, torch.float32, torch.bfloat16, (0.3, -0.3), "initial", True, True),
    "double": (torch.float64, torch.float64, torch.float64, (0.0, 0.3), "initial", False, True),
}


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """Compile instead of launch: PTX or GCN, by name of the kernel."""
    import triton
    from triton.runtime import driver

    found: dict[str, list[str]] = {}
    run = triton.JITFunction.run

    def compile_only(self, *arguments, grid, warmup, **options):
        kernel = run(self, *arguments, grid=grid, warmup=True, **options)
        found.setdefault(self.fn.__name__, []).append(kernel.asm.get("ptx") or kernel.asm["amdgcn"])

    def for_target(target):
        monkeypatch.setattr(driver, "_active", Absent(target))
        return found

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(triton.JITFunction, "run", compile_only)
    for value in vars(gpu.device_code()).values():
        if isinstance(value, triton.JITFunction):
            monkeypatch.setattr(value, "device_caches", type(value.device_caches)(value.create_binder))
    return for_target


def compile_step(theta, gradient, moments, exponents, reference, stochastic, measured):
    """Everything that a step of two tensors launches."""
    precision, referenced = torch.float64 if theta is torch.float64 else torch.float32, reference != "none"

    def memory(size):
        squares = torch.zeros(rules.REFERENCE_STEPS, dtype=precision) if referenced else None
        return rules.Memory(torch.zeros(size, dtype=moments), torch.zeros(size, dtype=moments), squares)

    slots = [
        kernels.Slot(
            *(torch.zeros(size, dtype=theta), [memory(size) for _ in exponents], torch.zeros((), dtype=torch.float64)),
            *(0, place),
            remembers=referenced,
        )
        for place, size in enumerate((3, 5000))
    ]
    stages = [rules.Stage(0.9, 0.999, exponent) for exponent in exponents]
    group = kernels.Group(rules.Step(0, 0.01, stages), stochastic, seed=0)
    measures = torch.empty(2, len(kernels.MEASURES), dtype=torch.float64) if measured else None
    gradients = [torch.zeros(slot.theta.shape, dtype=gradient) for slot in slots]
    gpu.prepare(torch.device("cpu"), list(map(gpu.row, slots)))(gradients, [group], measures)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kernel_of_a_step_compiles_for_nvidia(compiled, kind):
    from triton.backends.compiler import GPUTarget

    code = compiled(GPUTarget("cuda", 80, 32))
    compile_step(*KINDS[kind])
    referenced, measured = KINDS[kind][4] != "none", KINDS[kind][-1]
    assert set(code) == {"put", "begin", "step", *(["remember"] if referenced else []), *(["conclude"] if measured else [])}
    assert all("sm_80" in ptx for found in code.values() for ptx in found)


def test_it_compiles_for_amd_too(compiled):
    from triton.backends.compiler import GPUTarget

    code = compiled(GPUTarget("hip", "gfx942", 64))
    compile_step(*KINDS["SMES"])
    assert all("gfx942" in found[0] for found in code.values())


def test_memory_is_read_and_written_in_16_bytes_at_a_time(compiled):
    """A thread has 8 elements of each of the 4 arrays that are read, 3 of which are written."""
    from triton.backends.compiler import GPUTarget

    code = compiled(GPUTarget("cuda", 90, 32))
    compile_step(*KINDS["Adam"])
    (ptx,) = code["step"]
    assert len(re.findall(r"ld\.global\.v4\.b32", ptx)) == 8
    assert len(re.findall(r"st\.global\.v4\.b32", ptx)) == 6


def test_other_hyperparameters_and_other_numbers_of_steps_compile_nothing_anew(compiled, monkeypatch):
    from triton.backends.compiler import GPUTarget

    compiled(GPUTarget("cuda", 90, 32))
    kernel = gpu.device_code().step
    slots = [
        kernels.Slot(torch.zeros(3), [rules.Memory(torch.zeros(3), torch.zeros(3))], torch.zeros((), dtype=torch.float64), 0, 0)
    ]
    batch = gpu.prepare(torch.device("cpu"), list(map(gpu.row, slots)))
    counts = []
    for lr, betas, exponent, seed in ((0.01, (0.9, 0.999), 0.3, 0), (1, (0.0, 0.5), 0.4, 16), (0.0, (0.5, 0.5), 0.499, 2**40)):
        step = rules.Step(0, lr, [rules.Stage(*betas, exponent)], weight_decay=lr)
        batch([torch.zeros(3)], [kernels.Group(step, False, seed)], None)
        counts.append(sum(len(caches[0]) for k in (kernel, gpu.device_code().put) for caches in k.device_caches.values()))
    assert counts == [2, 2, 2]


def test_it_says_why_it_cannot(monkeypatch):
    assert gpu.refusal(GPU, torch.float32) is None
    assert gpu.refusal(torch.device("cpu"), torch.float32) == "it runs on GPUs of NVIDIA and AMD"
    assert "it computes with torch.float32" in (gpu.refusal(GPU, torch.int32) or "")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    assert "finds no C compiler" in (gpu.refusal(GPU, torch.float32) or "")
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    assert "pip install triton" in (gpu.refusal(GPU, torch.float32) or "")


def test_auto_takes_it_on_a_gpu_and_the_eager_kernel_where_triton_is_missing(monkeypatch):
    choose = kernels.choose_kernel.__wrapped__  # what was chosen before is remembered
    assert choose("auto", GPU, torch.bfloat16) == "fused"
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    assert choose("auto", GPU, torch.bfloat16) == "eager"
    with pytest.raises(ArgumentError, match="pip install triton"):
        choose("fused", GPU, torch.bfloat16)


def test_the_host_does_not_read_a_learning_rate_on_an_accelerator():
    lr = torch.tensor([0.1], device="meta")  # has no value that could be read
    optimizer = Equipoise([torch.nn.Parameter(torch.zeros(2))], lr=lr)
    step = values_for_step(optimizer.param_groups[0]).step
    assert (step.lr.device.type, step.lr.shape) == ("meta", ())
