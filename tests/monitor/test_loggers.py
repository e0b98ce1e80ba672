"""TensorBoard, Weights & Biases and MLflow: what is not finite survives in each, read back with its own means."""

import json
import math
import sys

import pytest

from equipoise.errors import MissingExtraError
from equipoise.monitor import MLflow, TensorBoard, WandB
from equipoise.monitor._recording.loggers import scalars
from equipoise.monitor._recording.sinks import SinkSet
from tests.monitor.samples import RUN, Action, group, reading, tensor, verdict

LOSSES = [0.5, math.nan, math.inf, -math.inf, 0.25]
STEPS = [10, 20, 30, 20, 30]
"""As after a rollback: steps are repeated."""


def run_through(sink):
    """Five readings, a verdict and an action, through a set of sinks; everything must have arrived."""
    sinks = SinkSet([sink], patience=60)
    sinks.open(RUN)
    for step, loss in zip(STEPS, LOSSES, strict=True):
        sinks.write(reading(step, loss, metrics={"loss": loss, "top@5": 0.5}, tensors={"layer.weight": tensor(loss)}))
    sinks.write(verdict(30))
    sinks.write(Action("rollback", 30, (verdict(30),), "Rolled back to step 20."))
    sinks.close()
    assert sinks.dropped == []


def same(found, expected):
    return repr([float(one) for one in found]) == repr(expected)


def log_records(content):
    """The records in a file of Weights & Biases: LevelDB's log format, blocks of 32 KiB, the first with a header of 7 bytes."""
    place, parts = 7, []
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        parts.append(content[place + 7 : place + 7 + length])
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


def test_a_reading_becomes_named_numbers():
    found = scalars(reading(loss=0.5, groups=(group(exponent=(0.5, 0.25), betas=((0.9, 0.99), (0.8, 0.9))),), names=["w"]))
    assert found["metrics/loss"] == 0.5
    assert found["group 0/margin"] == 0.1
    assert (found["group 0/exponent of stage 2"], found["group 0/beta2 of stage 2"]) == (0.25, 0.9)
    assert (found["gradient_rms/w"], found["bound/w"]) == (0.5, math.inf)


def test_tensorboard_keeps_what_is_not_finite_and_steps_that_are_repeated(tmp_path):
    pytest.importorskip("tensorboard", reason="needs equipoise[tensorboard]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_through(TensorBoard(tmp_path))
    found = EventAccumulator(str(tmp_path), purge_orphaned_data=False).Reload()
    for name in ("metrics/loss", "gradient_rms/layer.weight"):
        events = found.Scalars(name)
        assert [event.step for event in events] == STEPS
        assert same([event.value for event in events], LOSSES)
    assert found.Scalars("bound/layer.weight")[0].value == math.inf
    (shown,) = found.Tensors("verdicts/nonfinite-loss")
    assert (shown.step, shown.tensor_proto.string_val[0]) == (30, b"**nonfinite-loss** loss is nan.")
    assert "actions/rollback" in found.Tags()["tensors"]


def test_weights_and_biases_keeps_what_is_not_finite_and_steps_that_are_repeated(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="needs equipoise[wandb]")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_SILENT", "true")
    run_through(WandB(project="tests", mode="offline", dir=str(tmp_path)))
    wandb.teardown()  # its service has the file written when it ends
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    rows, alerts = [], []
    for data in log_records(path.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        if record.WhichOneof("record_type") == "history":
            rows.append({item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item})
        elif record.WhichOneof("record_type") == "alert":
            alerts.append(record.alert.title)
    assert [row["step"] for row in rows] == STEPS
    assert same([row["metrics/loss"] for row in rows], LOSSES)
    assert same([row["gradient_rms/layer.weight"] for row in rows], LOSSES)
    assert alerts == ["verdict: nonfinite-loss", "action: rollback"]


def test_mlflow_keeps_what_is_not_finite_and_steps_that_are_repeated(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs equipoise[mlflow]")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # an SQL store takes ten seconds to make, and keeps no infinity
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    uri = (tmp_path / "store").as_uri()
    run_through(MLflow(experiment="mine", tracking_uri=uri))
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    found = client.get_metric_history(run.info.run_id, "metrics/loss")
    assert [one.step for one in found] == STEPS
    assert same([one.value for one in found], LOSSES)
    assert "metrics/top_5" in run.data.metrics
    assert run.data.tags["equipoise.verdict.nonfinite-loss.30"] == "loss is nan."
    assert run.data.tags["equipoise.action.rollback.30"] == "Rolled back to step 20."
    assert (run.info.status, run.info.run_name) == ("FINISHED", "mine")


def test_mlflow_logs_into_a_run_that_was_begun_already_and_leaves_it_open(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs equipoise[mlflow]")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    uri = (tmp_path / "store").as_uri()
    client = mlflow.MlflowClient(uri)
    begun = client.create_run("0").info.run_id
    many = {f"metric {number}": 0.5 for number in range(MLflow.BATCH + 5)}
    sink = MLflow(begun, tracking_uri=uri)
    sink.open(RUN)
    sink.write(reading(metrics=many))
    sink.close()
    found = client.get_run(begun)
    assert found.info.status == "RUNNING"
    assert many.keys() <= {name.removeprefix("metrics/") for name in found.data.metrics}


def test_a_sink_that_is_opened_again_goes_on_in_the_same_run(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs equipoise[mlflow]")
    wandb = pytest.importorskip("wandb", reason="needs equipoise[wandb]")
    for name, value in (("MLFLOW_ALLOW_FILE_STORE", "true"), ("MLFLOW_DISABLE_TELEMETRY", "true"), ("WANDB_SILENT", "true")):
        monkeypatch.setenv(name, value)
    uri = (tmp_path / "store").as_uri()
    for sink in (MLflow(tracking_uri=uri), WandB(mode="offline", dir=str(tmp_path))):
        for step in (1, 2):
            sink.open(RUN)
            sink.write(reading(step))
            sink.close()
    wandb.teardown()
    (run,) = mlflow.MlflowClient(uri).search_runs(["0"])
    assert (run.info.status, run.data.metrics["metrics/loss"]) == ("FINISHED", 0.5)
    assert len({path.name for path in tmp_path.glob("wandb/offline-run-*/*.wandb")}) == 1


@pytest.mark.parametrize(
    ("module", "make", "extra"),
    [
        ("tensorboard.compat.proto", lambda: TensorBoard("runs"), "tensorboard"),
        ("wandb", WandB, "wandb"),
        ("mlflow", MLflow, "mlflow"),
    ],
)
def test_a_missing_package_is_said_when_the_sink_is_made_with_the_line_that_installs_it(monkeypatch, module, make, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'equipoise\[{extra}\]'"):
        make()
