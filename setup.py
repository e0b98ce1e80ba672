"""Compiles the fused CPU kernel. Without a C compiler the package installs all the same and runs the eager one."""

import platform

from setuptools import Extension, setup

# Where there are registers of 512 bits: compilers prefer half of them, and powers take half as long again.
WIDE = ["-mprefer-vector-width=512"] if platform.machine() == "x86_64" else []

setup(
    ext_modules=[
        Extension(
            "equipoise.optim._kernels._cpu",
            ["src/equipoise/optim/_kernels/cpu.c"],
            depends=["src/equipoise/optim/_kernels/stage.h"],
            # Never -ffast-math: linking with it makes the loader flush denormals in the whole process.
            extra_compile_args=["-O3", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", *WIDE],
            extra_link_args=["-fopenmp"],
            libraries=["m"],
            optional=True,
            py_limited_api=True,  # it uses nothing of Python: one build serves every version
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
