"""Every command that reads a checkpoint answers, whatever the checkpoint holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .answers import answered, many
from .checkpoints import files

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, about its own formats, while the inputs are made


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@many
@given(
    files(), st.sampled_from(["equipoise", "smes", "kadam", "adamw", "adam", "rmsprop", "sgd"]), st.booleans(), st.booleans()
)
def test_every_command_that_reads_a_checkpoint_answers(place, content, to, without, as_json):
    source, target = place / "in.pt", place / "out.pt"
    source.write_bytes(content)
    form = ["--json"] if as_json else []
    answered("check", source, *form, codes=(0, 1, 2))
    answered("recommend", source, *form, *(["--reference", "none"] if without else []))
    code = answered("migrate", source, target, "--to", to, *form, *(["--lr", 0.1] if without else []))
    assert target.exists() == (code == 0)
    target.unlink(missing_ok=True)
