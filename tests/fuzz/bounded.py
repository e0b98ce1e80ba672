"""Run commands, given as JSON on stdin, with 1 GiB of memory above what the program itself takes."""

import contextlib
import io
import json
import resource
import sys
import time
import warnings

import equipoise.check._page
import equipoise.migrate
import equipoise.recommend._from_checkpoint
from equipoise import cli

GIB = 2**30


def main():
    """Print the exit code, the messages and the seconds of every command, as JSON."""
    equipoise.recommend.from_checkpoint, equipoise.migrate.convert_checkpoint  # noqa: B018 (imports what is loaded on first use)
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + GIB, taken + GIB))
    warnings.simplefilter("error")
    found = []
    for command in json.load(sys.stdin):
        err, began = io.StringIO(), time.monotonic()
        with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
            try:
                cli.main(command)
            except SystemExit as stopped:
                code = stopped.code
            except BaseException as error:  # a MemoryError too
                code = repr(error)
        found.append([code, err.getvalue(), time.monotonic() - began])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
