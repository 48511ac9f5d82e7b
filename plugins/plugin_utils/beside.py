# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compute something in a process of its own, while this one goes on; threads of Python take turns."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from ansible_collections.campus.hubs.plugins.module_utils.course_state.release import StateError

Result = TypeVar("Result")


class Beside(AbstractContextManager["Beside[Result]"]):
    """A computation in a copy of this process; it ends with the block."""

    def __init__(self, work: Callable[[], Result]) -> None:
        """Begin. No other thread may run yet, since a copy has none of them.

        Args:
            work: what is computed; its result has to be such that can be pickled.
        """
        context = multiprocessing.get_context("fork")
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_answer, args=(work, sender))
        self._process.start()
        sender.close()

    def result(self) -> Result:
        """Wait for what was computed; only once.

        Raises:
            StateError: the process has come to an end without it; or the text of an error that can not be pickled.
            Exception: what the computation has raised.
        """
        try:
            result, error = self._receiver.recv()
        except EOFError as ended:
            self._process.join()
            message = f"the process that computes values has ended with {self._process.exitcode}"
            raise StateError(message) from ended
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def __exit__(self, *_: object) -> None:
        """End the process if nobody has waited for its result."""
        self._process.kill()
        self._process.join()
        self._receiver.close()


def _answer(work: Callable[[], Any], sender: Connection) -> None:
    # Ansible's own handlers are for the process that this is a copy of.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    answer: tuple[Any, Exception | None]
    try:
        answer = work(), None
    except Exception as error:  # raised where it is waited for
        answer = None, _portable(error)
    sender.send(answer)


def _portable(error: Exception) -> Exception:
    """Return an error, or its text if it would not come through a pipe."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (what was just written)
    except Exception:  # whatever its class does
        return StateError(str(error))
    return error
