"""TensorBoard, Weights & Biases and MLflow as sinks. Each package is imported when its sink is made, and never otherwise.

They get every number of a reading by the names of :func:`scalars`, and verdicts and actions as text. What is not finite arrives
as such, with two exceptions that are theirs: TensorBoard keeps 32 bits of a number, so that what is beyond 3.4e38 becomes
infinite; an SQL store of MLflow keeps the largest double, 1.7976931348623157e308, in the place of infinity. The run's own file
(:class:`equipoise.monitor._recording.sinks.JsonLines`) has neither.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportMissingImports=false
# (none of the three declares all of its types, and none is needed)

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import Any

from equipoise.errors import MissingExtraError
from equipoise.monitor._measuring.readings import Reading
from equipoise.monitor._recording.run_file import GROUP_INDICATORS, INDICATORS, Event, RunInfo, series_names


def scalars(reading: Reading) -> dict[str, float]:
    """A reading as named numbers: ``metrics/loss``, ``group 0/margin``, ``gradient_rms/layer.weight``.

    Example:
        >>> scalars(Reading(1, 0.0, True, {"loss": 0.5}, (), {}))
        {'metrics/loss': 0.5}
    """
    names = series_names(reading.metrics, [len(group.exponent) for group in reading.groups], tuple(reading.tensors))
    values = list(reading.metrics.values())
    for group in reading.groups:
        values += [getattr(group, name) for name in GROUP_INDICATORS]
        for exponent, betas in zip(group.exponent, group.betas, strict=True):
            values += (exponent, *betas)
    values += [getattr(tensor, indicator) for indicator in INDICATORS for tensor in reading.tensors.values()]
    return dict(zip(names, values, strict=True))


class TensorBoard:
    """A sink that writes event files; needs ``equipoise[tensorboard]``, not torch's writer.

    Args:
        folder: what ``tensorboard --logdir`` is given.

    Raises:
        MissingExtraError: the package is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise MissingExtraError("the TensorBoard sink", "tensorboard") from error
        self._writer_class, self._event, self._summary, self._tensor = EventFileWriter, event_pb2, summary_pb2, tensor_pb2
        self.folder = Path(folder)
        self._time = 0.0

    def __repr__(self) -> str:
        return f"TensorBoard({str(self.folder)!r})"

    def open(self, run: RunInfo) -> None:
        """Begin a file."""
        self._time = run.started
        self._writer: Any = self._writer_class(str(self.folder))

    def write(self, record: Reading | Event) -> None:
        """One event per record."""
        value = self._summary.Summary.Value
        if isinstance(record, Reading):
            self._time = record.time
            values = [value(tag=name, simple_value=number) for name, number in scalars(record).items()]
        else:
            text = self._summary.SummaryMetadata(plugin_data={"plugin_name": "text"})
            shown = f"**{record.kind}** {record.message}".encode()
            tensor = self._tensor.TensorProto(dtype="DT_STRING", string_val=[shown], tensor_shape={"dim": [{"size": 1}]})
            values = [value(tag=f"{_type(record)}s/{record.kind}", tensor=tensor, metadata=text)]
        summary = self._summary.Summary(value=values)
        self._writer.add_event(self._event.Event(wall_time=self._time, step=record.step, summary=summary))

    def close(self) -> None:
        """Write what waits, and close the file."""
        self._writer.close()


class WandB:
    """A sink that logs to Weights & Biases; needs ``equipoise[wandb]``. Actions and verdicts of trouble become alerts, the same
    one at most every ten minutes. Charts are over ``step``, so that steps that are repeated after a rollback are kept.

    Args:
        run: one that was begun already, which is left open at the end; without it, a new one.
        arguments: of ``wandb.init`` for the new one, as ``project="mine"`` or ``mode="offline"``.

    Raises:
        MissingExtraError: the package is not installed.
    """

    def __init__(self, run: Any = None, **arguments: Any) -> None:
        try:
            import wandb
        except ImportError as error:
            raise MissingExtraError("the Weights & Biases sink", "wandb") from error
        self._wandb, self._given, self._arguments = wandb, run, arguments

    def __repr__(self) -> str:
        return f"WandB({', '.join(f'{name}={value!r}' for name, value in self._arguments.items())})"

    def open(self, run: RunInfo) -> None:
        """Begin a run, unless one was given."""
        config = {"versions": run.versions}
        self._run: Any = self._given or self._wandb.init(**({"name": run.name} | self._arguments))
        self._arguments |= {"id": self._run.id, "resume": "allow"}  # opened again, the same run goes on
        self._run.config.update({"equipoise": config}, allow_val_change=True)
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def write(self, record: Reading | Event) -> None:
        """Log numbers, or send an alert."""
        if isinstance(record, Reading):
            self._run.log({"step": record.step, **scalars(record)})
        elif _type(record) == "action" or getattr(record, "severity", None) == "trouble":
            text = f"step {record.step}: {record.message}"
            self._run.alert(title=f"{_type(record)}: {record.kind}", text=text, level="ERROR", wait_duration=600)

    def close(self) -> None:
        """End the run, unless it was given."""
        if self._given is None:
            self._run.finish()


class MLflow:
    """A sink that logs to MLflow; needs ``equipoise[mlflow]``. Verdicts and actions become tags. A character that MLflow does
    not take in a name becomes ``_``.

    Args:
        run_id: of a run that was begun already, which is left open at the end; without it, a new one.
        experiment: the name for a new run; made if it is missing.
        tracking_uri: of the store; without it, what MLflow is configured for.

    Raises:
        MissingExtraError: the package is not installed.
    """

    BATCH = 1000
    """Metrics in one request, at most: the limit of MLflow's servers."""
    TAG = 5000
    """Characters in a tag, at most: the limit of MLflow's file store, the smallest."""

    def __init__(self, run_id: str | None = None, *, experiment: str = "Default", tracking_uri: str | None = None) -> None:
        try:
            import mlflow
            from mlflow.entities import Metric
        except ImportError as error:
            raise MissingExtraError("the MLflow sink", "mlflow") from error
        self._client_class, self._metric = mlflow.MlflowClient, Metric
        self._run: str | None = run_id
        self._given, self._experiment, self._tracking_uri = run_id, experiment, tracking_uri

    def __repr__(self) -> str:
        return f"MLflow(run_id={self._given!r}, experiment={self._experiment!r}, tracking_uri={self._tracking_uri!r})"

    def open(self, run: RunInfo) -> None:
        """Begin a run, unless one was given."""
        client: Any = self._client_class(self._tracking_uri)
        self._client = client
        if self._run is None:
            self._run = self._begin(run)
        elif self._given is None:  # opened again
            client.update_run(self._run, status="RUNNING")
        for name, version in run.versions.items():
            client.set_tag(self._run, _accepted(f"equipoise.version.{name}"), version)

    def _begin(self, run: RunInfo) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        experiment = found.experiment_id if found else self._client.create_experiment(self._experiment)
        return self._client.create_run(experiment, start_time=round(1000 * run.started), run_name=run.name).info.run_id

    def write(self, record: Reading | Event) -> None:
        """Log numbers, or set a tag."""
        if not isinstance(record, Reading):
            name = _accepted(f"equipoise.{_type(record)}.{record.kind}.{record.step}")
            self._client.set_tag(self._run, name, record.message[: self.TAG])
            return
        when = round(1000 * record.time)
        numbers = (self._metric(_accepted(name), value, when, record.step) for name, value in scalars(record).items())
        while batch := list(islice(numbers, self.BATCH)):
            self._client.log_batch(self._run, metrics=batch, synchronous=True)

    def close(self) -> None:
        """End the run, unless it was given."""
        if self._given is None:
            self._client.set_terminated(self._run)


def _type(event: Event) -> str:
    return type(event).__name__.lower()


def _accepted(name: str) -> str:
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)
