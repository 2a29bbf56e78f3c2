"""What can go wrong with sealed values; a branch of the tree in `errors.py`.

Refused
├── StoreUnavailable
│   └── KeyRingUnusable         keyring_unusable           503
├── SealBroken              seal_broken                500
├── KeyMissing              key_missing                503
└── KeyInUse                key_in_use                 409
"""

from factory_mcp.domain.errors import Refused, StoreUnavailable
from factory_mcp.domain.model import Unreadable


class KeyRingUnusable(StoreUnavailable):
    """The keys that seal the store cannot be read; nothing is written that nobody can read."""

    code = "keyring_unusable"
    remedy = "Put the backup of the key ring in its place; `factory-mcp doctor` says where that is."


class SealBroken(Refused):
    """What is stored in one place was changed, or belongs to another place."""

    code = "seal_broken"
    http = 500
    remedy = (
        "The store was damaged or changed from outside: put its backup in place. All the rest can"
        " be read as before."
    )


class KeyMissing(Refused):
    """What is stored in one place was sealed with a key that the ring does not have."""

    code = "key_missing"
    http = 503
    remedy = (
        "Put the named key back into the key ring, from the ring's backup; `factory-mcp seal"
        " status` says how much each key has sealed."
    )


class KeyInUse(Refused):
    """The key cannot leave the ring: it is the newest, or has sealed what is still stored."""

    code = "key_in_use"
    http = 409
    remedy = "Run `factory-mcp seal rotate`, then `factory-mcp seal rewrap`, and drop it then."


def error_of(row: Unreadable) -> Refused:
    """The error that kept a row from being opened."""
    kind = KeyMissing if row.code == KeyMissing.code else SealBroken
    return kind(row.message)
