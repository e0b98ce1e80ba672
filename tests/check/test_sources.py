"""What is found in files: trainers' formats in their original form, checkpoints, and everything that is unusable."""

import argparse
import json
import pickle

import pytest
import torch

from equipoise import SMES, Hyperparameters, KAdam
from equipoise.check._sources import Recipe, read_recipes
from equipoise.errors import UnusableInputError

ADAM = ((0.9, 0.999),), (0.5,)


def recipe(where, betas, exponents):
    return Recipe(where, Hyperparameters(betas, exponents))


@pytest.fixture
def read(tmp_path):
    """Write content to a file of that name, and read its settings."""

    def write_and_read(name, content):
        path = tmp_path / name
        if isinstance(content, (str, bytes)):
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        else:
            torch.save(content, path)
        return read_recipes(path)

    return write_and_read


def trained(optimizer_class, **settings):
    weight = torch.nn.Parameter(torch.ones(3))
    groups = [{"params": [weight]}, {"params": [torch.nn.Parameter(torch.ones(2))]}]
    optimizer = optimizer_class(groups, **settings)
    weight.grad = torch.ones(3)
    optimizer.step()
    return optimizer.state_dict()


TRANSFORMERS = {
    "output_dir": "out",
    "learning_rate": 5e-05,
    "weight_decay": 0.0,
    "adam_beta1": 0.9,
    "adam_beta2": 0.95,
    "adam_epsilon": 1e-08,
    "lr_scheduler_type": "linear",
    "optim": "adamw_torch",
}

DEEPSPEED = """{
  "train_batch_size": 8,
  "optimizer": {
    "type": "AdamW",
    "params": {"lr": 0.001, "betas": [0.8, 0.999], "eps": 1e-8, "weight_decay": 3e-7}
  },
  "scheduler": {"type": "WarmupLR", "params": {"warmup_min_lr": 0}},
  "zero_optimization": {"stage": 3}
}"""


def test_transformers_training_arguments_in_json(read):
    found = read("training_args.json", json.dumps(TRANSFORMERS, indent=2))
    assert found == [recipe("adam_beta1, adam_beta2", ((0.9, 0.95),), (0.5,))]


def test_transformers_training_arguments_in_yaml_with_one_beta_left_to_its_default(read):
    (found,) = read("args.yaml", "training:\n  output_dir: out\n  learning_rate: 5e-5\n  adam_beta2: 0.95\n")
    assert found.hyperparameters.betas == ((0.9, 0.95),)
    assert found.where == "training.adam_beta1, training.adam_beta2 (adam_beta1 is not set: 0.9 by default)"
    (found,) = read("args.yml", "adam_beta1: 0.95\nadam_beta2: null\n")
    assert found.hyperparameters.betas == ((0.95, 0.999),)


def test_deepspeed_json(read):
    assert read("ds.json", DEEPSPEED) == [recipe("optimizer.params.betas", ((0.8, 0.999),), (0.5,))]


def test_an_automatic_value_of_deepspeed_is_refused_with_the_place_to_look_at(read):
    with pytest.raises(UnusableInputError, match=r"optimizer\.params\.betas is 'auto'.* trainer's own arguments"):
        read("ds.json", DEEPSPEED.replace("[0.8, 0.999]", '"auto"'))


def test_what_a_study_only_tries_is_no_recipe(read):
    arm = '[[arm]]\nname = "a"\noptimizer = "adamw"\nbetas = [0.9, 0.99]\n'
    search = "search = { betas = [[0.9, 0.99], [0.95, 0.7]] }\n"
    assert read("study.toml", arm + search) == [recipe("arm[0].betas", ((0.9, 0.99),), (0.5,))]


def test_a_toml_with_several_optimizers(read):
    text = """
    [[arm]]
    optimizer = "equipoise.SMES"
    betas = [0.9, 0.99]
    [[arm]]
    optimizer = "equipoise.Equipoise"
    betas = [[0.9, 0.999], [0.8, 0.9]]
    exponent = [0.25, 0.5]
    [[arm]]
    optimizer = "equipoise.KAdam"
    betas = [0.9, 0.999]
    k = 3
    """
    assert read("study.toml", text) == [
        recipe("arm[0].betas", ((0.9, 0.99),), (0.25,)),
        recipe("arm[1].betas", ((0.9, 0.999), (0.8, 0.9)), (0.25, 0.5)),
        recipe("arm[2].betas", ((0.9, 0.999),) * 3, (0.5,) * 3),
    ]


@pytest.mark.parametrize(
    "betas", ["[0.9, 0.999]", "(0.9, 0.999)", "0.9, 0.999", "['0.9', 999e-3]", "!!python/tuple [0.9, 0.999]", "[.9, 0.999]"]
)
def test_the_ways_to_write_a_pair_in_yaml(read, betas):
    assert read("c.yaml", f"optim:\n  betas: {betas}\n") == [recipe("optim.betas", *ADAM)]


def test_beta1_and_beta2_inside_of_a_mapping_of_betas(read):
    assert read("c.json", '{"betas": {"beta1": 0.9, "beta2": 0.999}}') == [recipe("betas.beta1, betas.beta2", *ADAM)]


def test_yaml_of_several_documents_and_one_whose_parts_are_shared(read):
    assert [one.where for one in read("c.yaml", "betas: [0.9, 0.99]\n---\nbetas: [0.9, 0.9]\n")] == ["[0].betas", "[1].betas"]
    assert [one.where for one in read("c.yaml", "a: &a {betas: [0.9, 0.99]}\nb: *a\nc: {<<: *a}\n")] == ["a.betas", "c.betas"]


def test_a_byte_order_mark_and_a_capital_suffix_do_not_matter(read):
    assert read("C.JSON", b"\xef\xbb\xbf" + b'{"betas": [0.9, 0.999]}') == [recipe("betas", *ADAM)]


def test_names_that_a_terminal_would_act_on_are_escaped(read):
    (found,) = read("c.json", json.dumps({"\x1b[2J": {"betas": [0.9, 0.999]}}))
    assert found.where == r"'\x1b[2J'.betas"


@pytest.mark.parametrize("suffix", ["pt", "pth", "bin", "ckpt", "PT"])
def test_an_optimizer_state_judges_each_group(read, suffix):
    state = trained(torch.optim.AdamW)
    state["param_groups"][1]["betas"] = (0.95, 0.7)
    assert read(f"optimizer.{suffix}", state) == [
        recipe("param_groups[0]", *ADAM),
        recipe("param_groups[1]", ((0.95, 0.7),), (0.5,)),
    ]


def test_state_dicts_are_found_anywhere_in_a_training_checkpoint(read):
    checkpoint = {
        "epoch": 3,
        "state_dict": torch.nn.Linear(2, 2).state_dict(),
        "optimizer_states": [trained(torch.optim.Adam), trained(torch.optim.SGD, lr=0.1)],
        "ema": {"optimizer": trained(torch.optim.Adam, betas=(0.5, 0.9))},
    }
    found = read("last.ckpt", checkpoint)
    assert [one.where for one in found] == [
        "optimizer_states[0].param_groups[0]",
        "optimizer_states[0].param_groups[1]",
        "ema.optimizer.param_groups[0]",
        "ema.optimizer.param_groups[1]",
    ]
    assert [one.hyperparameters.betas for one in found[::2]] == [((0.9, 0.999),), ((0.5, 0.9),)]


def test_the_optimizers_of_this_package_keep_their_exponent_and_stages(read):
    assert read("a.pt", trained(SMES))[0] == recipe("param_groups[0]", ((0.9, 0.999),), (0.25,))
    assert read("b.pt", trained(KAdam, k=2))[0] == recipe("param_groups[0]", ((0.9, 0.999),) * 2, (0.5,) * 2)


def test_betas_that_are_tensors(read):
    state = trained(torch.optim.Adam)
    state["param_groups"][0]["betas"] = (torch.tensor(0.5), torch.tensor(0.75))
    assert read("t.pt", state)[0].hyperparameters.betas == ((0.5, 0.75),)


def test_the_format_before_zip_files(tmp_path):
    torch.save({"optimizer": trained(torch.optim.Adam)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert read_recipes(tmp_path / "old.pt")[0] == recipe("optimizer.param_groups[0]", *ADAM)


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"optimizer": trained(torch.optim.Adam), "trap": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(UnusableInputError, match=r"was not opened: it holds io\.open, and loading that could run code"):
        read_recipes(tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


def test_pickled_training_arguments_are_refused_with_what_is_accepted(read):
    arguments = argparse.Namespace(adam_beta1=0.9, adam_beta2=0.999)
    with pytest.raises(UnusableInputError, match=r"holds argparse\.Namespace.*weights_only=True.*as JSON or YAML"):
        read("training_args.bin", arguments)
    with pytest.raises(UnusableInputError, match="something else than tensors and plain values"):
        read("training_args.bin", pickle.dumps(arguments))


def test_a_checkpoint_without_betas_says_which_groups_it_has(read):
    with pytest.raises(UnusableInputError, match=r"without betas: opt\.param_groups\[0\] \(lr, momentum, .*param_groups\[1\]"):
        read("sgd.pt", {"opt": trained(torch.optim.SGD, lr=0.1)})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.txt", "betas", r"a file of type \.txt: accepted are \.json, \.yaml, .*\.pt"),
        ("c", "betas", "a file without a suffix: accepted are"),
        (
            "c.json",
            '{"lr": 1, "beta1": 0.9}',
            "no betas: looked for betas, adam_beta1 .*; found at the top the keys 'lr', 'beta1'",
        ),
        ("c.json", "[1, 2]", "found no mapping, but a value of type list"),
        ("c.json", "", "not valid JSON: Expecting value: line 1"),
        ("c.json", '{"betas": [0.9, 0.999}', "not valid JSON"),
        ("c.json", "[" * 100_000, "nested too deeply"),
        ("c.json", b"\xff\xfe{", r"not UTF-8 text \(byte 0 is 0xff\)"),
        ("c.json", '{"betas": [0.9, NaN]}', r"at betas: betas = \[0\.9, nan\] is not accepted"),
        ("c.json", '{"betas": [0.9, 1.5]}', r"at betas: betas = \[0\.9, 1\.5\] .* numbers in \[0, 1\)"),
        ("c.json", '{"betas": [0.9, 0.99, 0.999]}', r"betas = \[0\.9, 0\.99, 0\.999\]"),
        ("c.json", '{"a": [{"betas": "linear"}]}', r"at a\[0\]\.betas: betas = 'linear'"),
        ("c.json", '{"betas": [0.9, 0.99], "exponent": "half"}', "at betas: exponent = 'half'"),
        ("c.json", '{"betas": [0.9, 0.99], "k": 0}', "at betas: stages = 0"),
        ("c.toml", "betas = [0.9", "not valid TOML"),
        ("c.yaml", "betas: [0.9", "not valid YAML: while parsing a flow sequence"),
        ("c.yaml", "", "holds no betas.*found nothing"),
        ("c.yaml", "day: 2024-13-45", "not valid YAML: month must be in 1..12"),
        ("c.yaml", "betas: &a [0.9, *a]", r"contains itself: the alias \*a"),
        (
            "c.json",
            json.dumps([{"betas": [0.9, 0.99], "k": 1000}] * 11),
            "betas of more than 10,000 parameter groups and stages",
        ),
        ("c.toml", "betas = [0.9, 0.99]\nstages = 1000000000", r"stages = 1000000000 .* from 1 to 10000"),
        ("c.yaml", 'x: !!python/object/apply:os.system ["true"]', "not valid YAML: could not determine a constructor"),
        ("c.pt", b"", "is empty: looked for a checkpoint"),
        ("c.pt", b"hello world", "is not a torch checkpoint, or a damaged one"),
        ("c.bin", bytes(range(256)), "was not opened"),
        ("c.pt", b"PK\x03\x04 cut off", "is not a torch checkpoint, or a damaged one"),
        ("c.pt", torch.ones(3), "holds no betas.*a value of type Tensor"),
    ],
)
def test_an_unusable_file_is_refused_with_what_was_found(read, name, content, message):
    with pytest.raises(UnusableInputError, match=message):
        read(name, content)


def test_a_place_that_is_no_file_is_refused(tmp_path):
    for path, message in [
        (tmp_path / "none.json", "cannot be read: No such file"),
        (tmp_path / "none.pt", "cannot be read: No such file"),
        (tmp_path, "is a folder: accepted are files of type"),
        (tmp_path / ("x" * 300 + ".json"), "cannot be read: File name too long"),
    ]:
        with pytest.raises(UnusableInputError, match=message):
            read_recipes(path)
