"""What sealing costs: a value sealed and opened again, beside the cipher alone."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from factory_mcp.ports import Place
from factory_mcp.services.sealing import Sealing
from factory_mcp.stores.key_file import KeyFile

SIZES: Final = (1, 16, 1024)
ROUNDS: Final = 7
PLACE: Final = Place(tenant="local", table="runs.output", id="run_01MCC5RM0072TECMQ49PKZ57H6")


def fastest(work: Callable[[], object], times: int) -> float:
    """Microseconds of one go, in the best of some rounds: a busy moment does not count."""
    rounds: list[float] = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for _ in range(times):
            work()
        rounds.append((time.perf_counter() - begun) / times)
    return min(rounds) * 1e6


def main() -> None:
    """Print a line for each size, and one for a word of the index."""
    with tempfile.TemporaryDirectory() as folder:
        sealer = Sealing(KeyFile(Path(folder) / "keyring", make=True))
        sealer.prepare()
        cipher, nonce = AESGCM(os.urandom(32)), os.urandom(12)
        for size in SIZES:
            plain, times = os.urandom(size * 1024), max(10, 1000 // size)
            ours = fastest(lambda p=plain: sealer.unseal(PLACE, sealer.seal(PLACE, p)), times)
            bare = fastest(
                lambda p=plain: cipher.decrypt(nonce, cipher.encrypt(nonce, p, b""), b""), times
            )
            per_kb = ours / size
            print(
                f"seal + unseal {size:5} KB {ours:8.1f} µs {per_kb:7.2f} µs/KB"
                f" {ours / bare:5.1f} times AES-GCM alone"
            )
        print(
            f"blind a word          {fastest(lambda: sealer.blind('local', 'cache'), 2000):8.1f} µs"
        )


if __name__ == "__main__":
    main()
