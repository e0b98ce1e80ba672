"""A PostgreSQL server for tests: of one's own, in a temporary folder, on a free port, gone at the end."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

PASSWORD = "never/shown:100%"
USER = "tester"


def binaries() -> Path | None:
    """The folder of the server's programs, which Debian does not have in the path; None where there is no server."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)


class Server:
    """It asks for a password, and its clock is not ours."""

    def __init__(self, binaries: Path) -> None:
        self.binaries = binaries
        self.folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
        self.data, password = self.folder / "data", self.folder / "password"
        password.write_text(PASSWORD)
        # It refuses to run as root.
        self.user: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        if self.user:
            for path in (self.folder, password):
                shutil.chown(path, "postgres", "postgres")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.numbers = itertools.count()
        options = [f"--username={USER}", f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"]
        self._run("initdb", *options, "--no-sync", f"--pgdata={self.data}")

    def start(self) -> None:
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "timezone": "Asia/Tokyo", "fsync": "off"}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._run("pg_ctl", "start", "-w", f"--pgdata={self.data}", f"--log={self.folder / 'log'}", "-o", f"{options} -k ''")

    def stop(self, mode: str = "immediate") -> None:
        """As if the machine had lost its power, unless `mode` says otherwise."""
        self._run("pg_ctl", "stop", "-w", f"--pgdata={self.data}", f"--mode={mode}")

    def restart(self) -> None:
        self.stop()
        self.start()

    def url(self, database: str, user: str = USER, password: str = PASSWORD) -> str:
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def create(self, *options: str) -> str:
        """The URL of a new database, which has a thousand files."""
        name = f"database{next(self.numbers)}"
        self._run("createdb", "--host=127.0.0.1", f"--port={self.port}", f"--username={USER}", *options, name)
        return self.url(name)

    def place(self) -> str:
        """The URL of a new place in a database, as good as one of its own, and much sooner there."""
        name = f"place{next(self.numbers)}"
        self.query(self.url("postgres"), f"CREATE SCHEMA {name}")
        return self.url(f"postgres?options=-csearch_path%3D{name}")

    def query(self, url: str, statement: str) -> str:
        return self._run("psql", "--no-align", "--tuples-only", "--quiet", f"--command={statement}", url)

    def dump(self, url: str) -> str:
        """Everything that a database holds."""
        return self._run("pg_dump", url)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> str:
        command = [str(self.binaries / program), *arguments]
        environment = {"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD, "LC_ALL": "C"}
        # A server that starts keeps its output open, so it must not be a pipe of ours.
        with (self.folder / "output").open("w+b") as output:
            done = subprocess.run(command, stdout=output, stderr=output, env=environment, cwd=self.folder, **self.user)
            output.seek(0)
            said = output.read().decode()
        assert done.returncode == 0, f"{program}: {said}"
        return said
