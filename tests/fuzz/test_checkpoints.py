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
@given(files())
def test_check_answers_for_every_checkpoint(place, content):
    (place / "check.pt").write_bytes(content)
    answered("check", place / "check.pt", codes=(0, 1, 2))


@many
@given(
    files(), st.sampled_from(["equipoise", "smes", "kadam", "adamw", "adam", "rmsprop", "sgd"]), st.booleans(), st.booleans()
)
def test_migrate_answers_for_every_checkpoint_and_writes_nothing_where_it_refuses(place, content, to, new_lr, as_json):
    source, target = place / "in.pt", place / "out.pt"
    source.write_bytes(content)
    code = answered("migrate", source, target, "--to", to, *(["--lr", 0.1] if new_lr else []), *(["--json"] if as_json else []))
    assert target.exists() == (code == 0)
    target.unlink(missing_ok=True)


@many
@given(files(), st.booleans(), st.booleans())
def test_recommend_answers_for_every_checkpoint(place, content, referenced, as_json):
    (place / "recommend.pt").write_bytes(content)
    options = [*([] if referenced else ["--reference", "none"]), *(["--json"] if as_json else [])]
    answered("recommend", place / "recommend.pt", *options)
