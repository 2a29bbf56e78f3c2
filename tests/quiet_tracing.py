"""A hang of CPython 3.11 under coverage, kept away.

Coverage keeps data by greenlet in a WeakKeyDictionary for each thread. When a thread has died,
greenlet frees its last greenlet between two steps of the main thread, and with that comes a call
of the dictionary's callback. It is a Python function, so it is traced; and CPython 3.11 never
begins a traced function while another such call is waiting. A callback that is not written in
Python is not traced.
"""

import sys
import weakref
from typing import Any


class _Untraced(weakref.WeakKeyDictionary[Any, Any]):
    """One that forgets a dead key without running Python; it must not be iterated meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        vars(self)["_remove"] = vars(self)["data"].pop


def keep_away() -> None:
    """Give it to the threads that are traced from now on; all others make their own as before."""
    if sys.version_info < (3, 12) and sys.gettrace() is not None:
        weakref.__dict__.update(WeakKeyDictionary=_Untraced)
