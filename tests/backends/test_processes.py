"""The processes of a run, found among all that there are."""

import os
import signal
import subprocess

from factory_mcp.backends.processes import RUN_VARIABLE, members


def test_processes_are_told_by_their_group_or_by_the_run() -> None:
    """A process that left the group still has the variable."""
    name = f"run_{os.urandom(4).hex()}"
    outside = subprocess.Popen(
        ["/bin/cat"],
        bufsize=0,
        env={RUN_VARIABLE: name},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert outside.stdin is not None
        assert outside.stdout is not None
        outside.stdin.write(b"!")
        assert b"!" == outside.stdout.read(1)  # before that, /proc may not yet show its environment
        assert {outside.pid} == members(-1, name)
        assert outside.pid in members(outside.pid, "another")
        outside.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, outside.pid, os.WEXITED | os.WNOWAIT)
        assert set() == members(outside.pid, name)  # dead, and only not yet buried
    finally:
        outside.kill()
        outside.communicate()
