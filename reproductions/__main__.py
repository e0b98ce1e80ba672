"""Run every claim in its own process, one after the other, and print a table of the verdicts.

``python -m reproductions [--quick] [--device cuda] [--scale full] [--out FOLDER]``
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from reproductions.claim import parse_options


def main() -> int:
    """0 if every script came to a verdict, whichever."""
    options = parse_options("Reproduce every claim.")
    scripts = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]_*.py"))
    failed: list[str] = []
    for name in scripts:
        command = [sys.executable, "-m", f"reproductions.{name}", *sys.argv[1:]]
        if subprocess.run(command, check=False).returncode:  # noqa: S603, our own script
            failed.append(name)
    for name in scripts:
        if name not in failed:
            result = json.loads((options.out / f"{name[0]}.json").read_text(encoding="utf-8"))
            print(f"({result['claim']}) {result['verdict']:15} {result['seconds']:6.0f} s  {result['statement']}")
    for name in failed:
        print(f"({name[0]}) {name} ended with an error, see above", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
