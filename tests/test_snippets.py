"""Whoever copies the snippets of a page, one after the other, can run them, and run them again in the same folder."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

from equipoise.monitor import Reading
from equipoise.watch import records

ROOT = Path(__file__).parents[1]


def script(page):
    """The Python snippets of a page as one program; of a session with a prompt, what was typed."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return "\n".join(doctest.script_from_examples(block) if ">>>" in block else block for block in blocks)


def run_twice(page, folder):
    """Run the snippets of a page twice in a folder; return what the second run said on stderr."""
    program = folder / "program.py"
    program.write_text(script(page), encoding="utf-8")
    for start in (1, 2):
        done = subprocess.run([sys.executable, program], cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"start {start}: {done.stderr}"
    return done.stderr


def test_the_snippets_of_the_readme_run_twice_in_a_row(tmp_path):
    run_twice("README.md", tmp_path)


def test_the_snippets_of_the_monitor_run_twice_in_the_same_folder_and_keep_both_runs(tmp_path):
    said = run_twice("docs/monitor.md", tmp_path)
    assert (tmp_path / "runs" / "first" / "snapshots" / "earlier-1").is_dir()
    assert "snapshots of an earlier run" in said
    steps = [record.step for record in records(tmp_path / "runs" / "first") if isinstance(record, Reading)]
    assert steps.count(10) == 2
