"""When two calls are the same call: keyed digests of what they ask for.

Both digests are keyed, so that a row in the store does not let its reader guess arguments.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any


def fingerprint(key: bytes, parts: Mapping[str, Any]) -> str:
    """What an open run is found by: HMAC-SHA-256 in hex, whatever the order of the keys.

    Args:
        key: The store's secret.
        parts: JSON values that make the call what it is (contracts: principal, tool, task,
            context, options, context_id, session_id, workspace); never how long it waits.
    """
    return _digest(key, "fingerprint", parts)


def arguments_hash(key: bytes, arguments: Mapping[str, Any]) -> str:
    """Whether a repeated idempotency key came with the same arguments; as `fingerprint`."""
    return _digest(key, "arguments", arguments)


def _digest(key: bytes, purpose: str, value: Mapping[str, Any]) -> str:
    # ASCII escapes keep half a surrogate pair apart from any other character.
    canonical = json.dumps([purpose, value], sort_keys=True, separators=(",", ":"))
    return hmac.new(key, canonical.encode("ascii"), hashlib.sha256).hexdigest()
