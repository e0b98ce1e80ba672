"""What Optuna, Ray Tune, W&B sweeps and Equipoise do in ten situations, as a table in Markdown: `docs/peers.md` has it.

Run `python benchmarks/peers/table.py FOLDER` with an environment that has Equipoise and its extra `study`. Each peer gets an
environment of its own in FOLDER, with the pinned versions below. It takes about twelve minutes on two cores. The outputs of all
runs stay in FOLDER, one folder for each situation and peer.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from running import HERE, PACKAGES, PATIENCE, Equipoise, Peer, RayCluster, Run, environment, events, finish, once, run, start

TRIALS = 6
"""Of every study here, but where six seeds are compared."""

REPEATS, POINTS = 20, 40
"""Of the search: how often, and how many points each time."""


def ending(run: Run) -> str:
    """How a run ended, in words."""
    if run.code is None:
        return f"no end in {PATIENCE:.0f} s, Ctrl-C"
    return f"exit {run.code}" if run.code >= 0 else f"ended by {signal.Signals(-run.code).name}"


def again(peer: Peer, folder: Path, first: Run, **environment: str) -> str:
    """Run the same command again, and say what both runs did."""
    second = run(peer, folder, **environment)
    repeated = sum(trial in first.finished for trial in second.started)
    twice = f" ({repeated} of them a second time)" if repeated else ""
    kept = len(peer.kept(folder, second))
    return (
        f"{len(first.finished)} of {TRIALS} finished, {ending(first)}. "
        f"Again: {len(second.started)} trained{twice}, {kept} of {TRIALS} results, {ending(second)}"
    )


def misfortune(kind: str, **environment: str) -> Callable[[Peer, Path], str]:
    """A trial has bad luck; then the same command is given again."""
    return lambda peer, folder: again(peer, folder, run(peer, folder, MISFORTUNE=kind, **environment), **environment)


def interrupted(peer: Peer, folder: Path) -> str:
    """Ctrl-C while the third trial trains."""

    def ctrl_c(process: subprocess.Popen[bytes]) -> None:
        once(folder, "started", 3)
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group

    return again(peer, folder, run(peer, folder, ctrl_c))


def killed(peer: Peer, folder: Path) -> str:
    """The runner is killed while the third trial trains; its children are not."""

    def kill(process: subprocess.Popen[bytes]) -> None:
        once(folder, "started", 3)
        process.kill()

    return again(peer, folder, run(peer, folder, kill))


def changed_code(peer: Peer, folder: Path) -> str:
    """After three trials and a Ctrl-C, the task's file is edited."""

    def ctrl_c(process: subprocess.Popen[bytes]) -> None:
        once(folder, "finished", 3)
        os.killpg(process.pid, signal.SIGINT)

    run(peer, folder, ctrl_c)
    task = folder / "objective.py"
    task.write_text(task.read_text().replace("VERSION = 1\n", "VERSION = 2\n"))
    second = run(peer, folder)
    if not second.started:
        said = next(line for line in second.output.splitlines() if line.startswith("error:"))
        return f"Nothing is trained, {ending(second)}: “{said.removeprefix('error: ')}”"
    versions = dict(line.split()[1:] for line in (folder / "record").read_text().splitlines() if line.startswith("finished"))
    kept = [versions[trial] for trial in peer.kept(folder, second)]
    return f"Goes on, {ending(second)}: {kept.count('1')} results of the old code and {kept.count('2')} of the new"


def not_a_number(peer: Peer, folder: Path) -> str:
    """What a peer makes of a NaN."""
    done = run(peer, folder, MISFORTUNE="reports NaN")
    begun = f"{len(done.finished)} of {TRIALS} finished, {ending(done)}"
    if isinstance(peer, Equipoise):
        said = next((line for line in done.output.splitlines() if "counted as" in line), "")
        return f"{begun}: “{said.strip()}”"
    said = done.result
    counts = f"{said['failed']} counted as failed, {said['nan']} kept as NaN"
    return f"{begun}: {counts}; the best is {said['best']['arm']} with seed {said['best']['seed']}"


def six_seeds(peer: Peer, folder: Path) -> str:
    """What a peer says of twelve results."""
    if isinstance(peer, Equipoise):
        study = folder / "with_equipoise.toml"
        study.write_text(study.read_text().replace("seeds = 2\n", "seeds = 6\n", 1))
        output = run(peer, folder, SECONDS_PER_TRIAL="0").output
        return next(line for line in output.splitlines() if line.startswith(("sgd beats", "No arm")))
    done = run(peer, folder, SEEDS="6", SECONDS_PER_TRIAL="0")
    best = done.result["best"]
    return f"{len(done.result['kept'])} results; the best one is {best['arm']} with seed {best['seed']}"


def second_worker(peer: Peer, folder: Path) -> str:
    """Time a study of one trial at a time alone, and with a second worker that joins when the first trial has begun."""
    seconds: list[float] = []
    for workers in (1, 2):
        for name in ("record", "struck", "optuna.db", "peers.db"):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "results", ignore_errors=True)
        seconds.append(_with_workers(peer, folder, workers))
    started = events(folder, "started")
    twice = len(started) - len(set(started))
    return f"{seconds[0]:.0f} s alone, {seconds[1]:.0f} s with the second; {twice or 'no'} trial(s) twice"


def _with_workers(peer: Peer, folder: Path, workers: int) -> float:
    """Seconds from the start of the first trial to the end of the last."""
    environment = {"SECONDS_PER_TRIAL": "4"}
    options = ("--workers", "1") if isinstance(peer, Equipoise) else ()
    with ExitStack() as stack:
        if peer.module == "with_ray.py":
            environment["RAY_ADDRESS"] = stack.enter_context(RayCluster(peer)).address
        first = start(peer, folder, *options, **environment)
        once(folder, "started", 1)
        begun = time.monotonic()
        if workers == 2 and peer.module == "with_ray.py":
            stack.enter_context(RayCluster(peer, environment["RAY_ADDRESS"]))
        elif workers == 2:
            stack.callback(finish, start(peer, folder, *options, **environment))
        once(folder, "finished", TRIALS)
        seconds = time.monotonic() - begun
        finish(first)
    return seconds


def search(peer: Peer, folder: Path) -> str:
    """How far from the best point of a space a search ends."""
    command = [str(peer.python), peer.module, str(REPEATS), str(POINTS)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=900)
    losses = Run(0, 0, [], [], done.stdout).result
    return f"{statistics.median(losses):.2g} above the best (median of {REPEATS})"


SITUATIONS: dict[str, Callable[[Peer, Path], str]] = {
    "A trial raises an error": misfortune("raises"),
    "A trial is killed, as for want of memory": misfortune("is killed"),
    "A trial hangs": misfortune("hangs", TIME_LIMIT="120"),
    "Ctrl-C, then again": interrupted,
    "kill -9 of the runner, then again": killed,
    "The code changes in the middle": changed_code,
    "A trial reports NaN": not_a_number,
    "Two arms on six seeds: which is better?": six_seeds,
    "A second worker joins": second_worker,
    f"The best of {POINTS} points": search,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for the environments and the runs")
    parser.add_argument("--only", default="", help="situations whose name contains this")
    given = parser.parse_args(arguments)
    folder = given.folder.resolve()
    optuna, ray, wandb = (environment(folder, name) for name in PACKAGES)
    peers = [
        Peer("Optuna", "with_optuna.py", optuna),
        Peer("Ray Tune", "with_ray.py", ray),
        Equipoise("Equipoise", "with_equipoise.py", Path(sys.executable)),
    ]
    sweeps = Peer("W&B sweeps", "with_wandb.py", wandb)
    documented = tomllib.loads((HERE / "wandb.toml").read_text())
    print("| situation | Optuna | Ray Tune | W&B sweeps | Equipoise |\n|---|---|---|---|---|")
    for situation, tried in SITUATIONS.items():
        if given.only in situation:
            cells = [tried(peer, peer.folder(folder, situation)) for peer in peers]
            known = documented.get(situation)
            cells.insert(2, f"*not tried:* {known}" if known else tried(sweeps, sweeps.folder(folder, situation)))
            print(f"| {situation} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
