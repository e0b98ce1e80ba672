"""What a test needs that not every machine has."""

import shutil

import pytest
import torch

needs_inductor = pytest.mark.skipif(
    shutil.which("g++") is None or " " in torch.__file__,
    reason="torch's inductor needs a C++ compiler, and does not quote the path of torch's libraries for it",
)

BROWSER = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome on the path")
