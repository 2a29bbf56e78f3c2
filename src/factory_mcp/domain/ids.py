"""Identifiers: a prefix and a ULID, so that ids sort by the time they were made."""

from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ENTROPY: Final = 10
"""Random bytes in one identifier."""


def new_id(prefix: str, at: float, entropy: bytes) -> str:
    """An identifier such as `run_01J…`.

    Args:
        prefix: What it names: `run`, `ctx`, ….
        at: Unix seconds.
        entropy: Ten random bytes.
    """
    number = (int(at * 1000) << 80) | int.from_bytes(entropy[:ENTROPY], "big")
    digits = [_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(digits)}"
