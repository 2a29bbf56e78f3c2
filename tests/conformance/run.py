"""The official suite against the product: `make conformance`.

    python -m tests.conformance.run NODE SUITE

Prints what each scenario counted; what they saw is in build/conformance. Exits 1 if a scenario
that conformance requires has failed; no failure is expected. Tasks are an extension, which the
suite runs and does not score.
"""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

REQUIREMENTS = ("2025-11-25", "2026-07-28")
RESULTS = Path("build") / "conformance"
DEADLINE_S = 300


@contextmanager
def served() -> Generator[str]:
    """The product with the fixtures, in a process of its own; it must have one SDK server."""
    with (
        tempfile.TemporaryDirectory() as folder,
        (RESULTS / "server.log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "tests.conformance.serve", folder],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as server,
    ):
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.send_signal(signal.SIGTERM)
        servers = server.stdout.readline().strip()
        assert servers == "SDK servers: 1", servers or "the server has died, see server.log"
        assert server.wait(30) == 0, "the server did not end well, see server.log"


def run(node: str, suite: str, url: str, requirements: str) -> bool:
    """Whether the product meets them."""
    began = time.monotonic()
    command = [node, suite, "server", "--url", url, "--requirements", requirements]
    ended = subprocess.run(
        [*command, "-o", str(RESULTS / requirements)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    said = ended.stdout.rpartition("=== SUMMARY ===")[2].strip()
    verdict = "conforms" if ended.returncode == 0 else "does NOT conform"
    print(f"{said}\n\n{requirements}: {verdict} ({time.monotonic() - began:.0f} s)\n", flush=True)
    return ended.returncode == 0


def main(node: str, suite: str) -> int:
    """Run both sets; the exit code."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    with served() as url:
        met = [run(node, suite, url, each) for each in REQUIREMENTS]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
