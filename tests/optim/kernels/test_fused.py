"""The fused CPU kernel in torch's company: threads, memory that changed under it, autograd, denormals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from equipoise import SMES, Equipoise
from equipoise.optim._kernels import cpu


def train(optimizer: torch.optim.Optimizer, steps: int = 3) -> list[torch.Tensor]:
    params = optimizer.param_groups[0]["params"]
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        for parameter in params:
            parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
        optimizer.step()
    return [parameter.detach().clone() for parameter in params]


def test_it_was_compiled_where_these_tests_run():
    assert cpu.library() is not None


def test_a_kernel_that_does_not_load_is_said_in_the_log_and_refused(monkeypatch, request, caplog):
    def refuse(path: str) -> None:
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(cpu.ctypes, "CDLL", refuse)
    cpu.library.cache_clear()  # what was loaded before is remembered
    request.addfinalizer(cpu.library.cache_clear)
    assert "does not load" in str(cpu.refusal(torch.device("cpu"), torch.float32))
    assert "libgomp.so.1: cannot open" in caplog.text


def test_the_size_of_a_chunk_is_stated_once_for_both_languages():
    source = Path(cpu.__file__).with_name("cpu.c").read_text()
    assert f"#define CHUNK {cpu.CHUNK}\n" in source


def test_the_number_of_threads_changes_no_bit():
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            params = [torch.nn.Parameter(torch.ones(size)) for size in (5, 3 * cpu.CHUNK, 20_000)]
            found.append(train(SMES(params, exponent=0.3, reference="initial")))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for others in found[1:] for one, other in zip(found[0], others, strict=True))


def test_torch_and_the_kernel_share_one_pool_of_threads():
    train(Equipoise([torch.nn.Parameter(torch.ones(9))]))
    loaded = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libgomp" in line}
    torch_s = {path for path in loaded if "/torch/" in path}
    kernel_s = subprocess.run(["ldd", cpu.library()._name], capture_output=True, text=True, check=True).stdout
    assert len(torch_s) == 1
    assert "libgomp.so.1" in kernel_s  # the name under which torch has already loaded its own
    assert not any(path.startswith(("/usr/lib", "/lib")) for path in loaded)


def test_importing_leaves_denormals_alone():
    script = (
        "import torch; from equipoise.optim._kernels import cpu; cpu.library()\nassert (torch.tensor([1e-40]) * 0.5).item() > 0"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.double(),
        lambda data: data.bfloat16(),
        lambda data: data.to(memory_format=torch.channels_last),
        lambda data: data.clone(),
    ],
    ids=["float64", "bfloat16", "channels last", "moved"],
)
def test_a_parameter_that_changed_after_its_state_was_made_is_still_updated_right(change):
    found = {}
    for kernel in ("auto", "eager"):
        parameter = torch.nn.Parameter(torch.linspace(-1, 1, 48).reshape(1, 4, 3, 4))
        optimizer = Equipoise([parameter], lr=0.1, kernel=kernel)
        train(optimizer, 2)
        parameter.data = change(parameter.data)
        found[kernel] = train(optimizer, 2)[0]
    torch.testing.assert_close(found["auto"], found["eager"], rtol=1e-5, atol=1e-6)


def test_autograd_notices_that_a_parameter_changed():
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = Equipoise([parameter])
    parameter.grad = torch.ones(3)
    loss = (parameter**2).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_many_tensors_are_each_updated_once():
    params = [torch.nn.Parameter(torch.full((size,), 1.0)) for size in range(1, 400)]
    optimizer = Equipoise(params, lr=0.25)
    for parameter in params:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert all(torch.allclose(parameter, torch.tensor(0.75)) for parameter in params)
    assert all(state["step"].item() == 1 for state in optimizer.state.values())


@pytest.mark.long
def test_it_stays_within_its_buffers_and_within_defined_behaviour(tmp_path):
    kernels = Path(cpu.__file__).parent
    flags = ["-O1", "-g", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-fno-sanitize-recover=all"]
    sanitizers = "-fsanitize=address,undefined,float-cast-overflow"
    program = tmp_path / "sanitize"
    source = Path(__file__).with_name("sanitize.c")
    subprocess.run(["gcc", *flags, sanitizers, "-I", kernels, source, "-o", program, "-lm"], check=True)
    done = subprocess.run([program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("clean\n", "")
