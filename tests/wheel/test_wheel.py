"""The wheel in ``dist``, as ``make wheel`` builds it: what is in it, and what it does in a new environment.

It is installed with the base dependencies alone, where no compiler is found. ``make test-wheel`` runs this, not ``make test``,
because it installs torch. These tests import nothing of the package: it need not be installed where they run.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.wheel

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src" / "equipoise"
LINUX = sys.platform == "linux"

EXTRAS = {"pydantic", "rich", "sqlalchemy", "plotly", "sklearn", "tomlkit", "starlette", "uvicorn", "triton"}
"""What private modules may need that the base does not install; triton is for the kernel on GPUs alone."""


@pytest.fixture(scope="session")
def wheel():
    (found,) = (ROOT / "dist").glob("equipoise-*.whl")
    return found


@pytest.fixture(scope="session")
def run(wheel, tmp_path_factory):
    """Run Python code, or the command, in an environment with the wheel and its base dependencies, and without a compiler."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=True)
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    environment = kept | {"PATH": str(folder / "bin"), "CC": "", "HOME": str(folder)}
    assert not any(shutil.which(compiler, path=environment["PATH"]) for compiler in ("cc", "gcc", "clang"))
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # pip finds its own configuration in the home of whoever runs this.
    home = {"HOME": os.environ["HOME"]} if "HOME" in os.environ else {}
    subprocess.run([*pip, "--constraint", ROOT / "constraints.txt", wheel], env=environment | home, check=True)

    def run(*arguments, code=None):
        command = [folder / "bin" / "equipoise", *arguments] if code is None else [folder / "bin" / "python", "-c", code]
        return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)

    return run


def printed(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_one_wheel_serves_every_later_version_of_python(wheel):
    platform = "manylinux" if LINUX else "macosx"
    assert re.fullmatch(rf"equipoise-[\d.]+-cp311-abi3-{platform}\w*(\.{platform}\w*)*\.whl", wheel.name)


def test_the_wheel_holds_every_file_of_the_package_one_kernel_and_no_openmp_library(wheel):
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name and name[-1] != "/"}
    files = {
        path.relative_to(SOURCE.parent).as_posix()
        for path in SOURCE.rglob("*")
        if path.is_file() and path.suffix not in (".so", ".pyc")
    }
    kernels = {name for name in inside if ".so" in name}
    assert inside - kernels == files
    assert kernels == ({"equipoise/optim/_kernels/_cpu.abi3.so"} if LINUX else set())


@pytest.mark.skipif(not LINUX, reason="the fused kernel is built where the compiler has OpenMP")
def test_without_a_compiler_the_fused_kernel_runs_on_the_openmp_library_of_torch_alone(run):
    found = printed(
        run(
            code="""
import json, torch
from equipoise import SMES

def trained(kernel):
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(100_000))
    optimizer = SMES([parameter], lr=0.01, kernel=kernel)
    for _ in range(5):
        parameter.grad = parameter.detach() ** 3
        optimizer.step()
    return parameter.detach(), repr(optimizer)

(eager, _), (fused, shown) = trained("eager"), trained("auto")
mapped = {line.split(maxsplit=5)[5].strip() for line in open("/proc/self/maps") if "gomp" in line}
kernels = {line.split(maxsplit=5)[5].strip() for line in open("/proc/self/maps") if "_cpu.abi3" in line}
difference = (eager - fused).abs().max().item()
print(json.dumps({"gomp": sorted(mapped), "kernels": len(kernels), "shown": shown, "difference": difference}))
"""
        )
    )
    assert "fused" in found["shown"]
    assert found["kernels"] == 1
    assert found["difference"] < 1e-6
    (library,) = found["gomp"]
    assert "/torch/lib/" in library


def test_every_module_imports_or_needs_an_extra_and_every_public_one_imports(run):
    found = printed(
        run(
            code="""
import importlib, json, pkgutil
import equipoise
names, failed = ["equipoise"], {}
for name in (module.name for module in pkgutil.walk_packages(equipoise.__path__, "equipoise.")):
    if name.endswith(("__main__", "._cpu")):  # the command, and C code that is no module of Python
        continue
    names.append(name)
    try:
        importlib.import_module(name)
    except ImportError as error:
        missing = error
        while missing.__cause__ is not None:
            missing = missing.__cause__
        failed[name] = [type(error).__name__, str(error), (missing.name or "").partition(".")[0]]
print(json.dumps({"names": names, "failed": failed}))
"""
        )
    )
    assert len(found["names"]) > 60
    assert {missing for _, _, missing in found["failed"].values()} <= EXTRAS, found["failed"]
    assert not [name for name in found["failed"] if not any(part.startswith("_") for part in name.split("."))]
    rooms = {name.split(".")[1] for name in found["failed"]}
    assert rooms <= {"study", "recommend", "watch", "optim"}


def test_every_public_name_is_there_or_says_which_extra_it_needs(run):
    found = printed(
        run(
            code="""
import importlib, json, pkgutil
import equipoise
from equipoise.errors import MissingExtraError
refused = {}
for module in pkgutil.walk_packages(equipoise.__path__, "equipoise."):
    if any(part.startswith("_") for part in module.name.split(".")):
        continue
    home = importlib.import_module(module.name)
    for name in home.__all__:
        try:
            getattr(home, name)
        except MissingExtraError as error:
            refused[f"{module.name}.{name}"] = str(error)
print(json.dumps(refused))
"""
        )
    )
    extras = {"study": "study", "recommend": "study", "watch": "watch"}
    assert {name.split(".")[1] for name in found} == set(extras)
    for name, message in found.items():
        assert f"pip install 'equipoise[{extras[name.split('.')[1]]}]'" in message


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["study", "run", "any.toml"], "study"),
        (["check", "--betas", "0.9", "0.999", "--plot", "map.html"], "plot"),
        (["check", "--betas", "0.9", "0.999", "--plot", "map.png"], "plot"),
    ],
)
def test_a_command_whose_extra_is_missing_says_the_line_that_installs_it(run, arguments, extra):
    done = run(*arguments)
    assert done.returncode == 2
    assert f"pip install 'equipoise[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_is_written_with_the_base_alone_and_shown_with_the_extra(run):
    code = """
import torch
from equipoise import SMES, Monitor
from equipoise.monitor import JsonLines
model = torch.nn.Linear(2, 1)
monitor = Monitor(optimizer := SMES(model.parameters()), model, sinks=[JsonLines("first")])
(loss := model(torch.ones(1, 2)).sum()).backward()
optimizer.step()
monitor.step(loss=loss)
monitor.close()
"""
    assert run(code=code).returncode == 0
    assert printed(run("watch", "first", "--json"))
    done = run("watch", "first")
    assert done.returncode == 2
    assert "pip install 'equipoise[watch]'" in done.stderr


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("from equipoise.monitor import TensorBoard; TensorBoard('runs')", "tensorboard"),
        ("from equipoise.monitor import WandB; WandB()", "wandb"),
        ("from equipoise.monitor import MLflow; MLflow()", "mlflow"),
        ("from equipoise.monitor.integrations import lightning_callback; lightning_callback(None)", "lightning"),
    ],
)
def test_an_integration_whose_extra_is_missing_says_the_line_that_installs_it(run, code, extra):
    done = run(code=code)
    assert done.returncode == 1
    assert "MissingExtraError" in done.stderr
    assert f"pip install 'equipoise[{extra}]'" in done.stderr


def test_the_check_explains_a_pair_of_betas_with_the_base_alone(run):
    done = run("check", "--betas", "0.9", "0.999", "--explain", "page.html")
    assert done.returncode == 0, done.stderr
    assert "STABLE" in done.stdout
