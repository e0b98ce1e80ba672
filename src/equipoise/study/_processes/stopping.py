"""How a study is asked to stop: by a signal. Once, running trials finish; twice, they are ended. Both keep what is finished."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager

from equipoise.study._processes.inside import ENDED_BY


class Stop:
    """Whether a study has been asked to start no further trial, and why."""

    def __init__(self) -> None:
        self.reason = ""
        """Empty until then."""
        self._signalled = False

    def ask(self, reason: str) -> None:
        """Let running trials finish, and start no more. The first reason stands."""
        self.reason = self.reason or reason

    @contextmanager
    def listening(self) -> Generator[None]:
        """Take signals as requests to stop, in the main thread; others have none. Those that are ignored stay so."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in ENDED_BY}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._signal)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _signal(self, number: int, _: object) -> None:
        if self._signalled:
            raise KeyboardInterrupt
        self._signalled = True
        self.ask(f"stopped by {'Ctrl-C' if number == signal.SIGINT else signal.Signals(number).name}")
        if number == getattr(signal, "SIGHUP", None):
            _let_go_of_the_terminal()


def _let_go_of_the_terminal() -> None:
    """It is gone: what is printed from now on would be an error."""
    for stream in (sys.stdout, sys.stderr):
        if stream.isatty():
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
