"""Sealing at rest: AES-256-GCM under keys of each tenant's own, derived from a ring of keys.

A sealed value is `version (1) | key id (4) | nonce (12) | ciphertext and tag (16 more)` bytes. Its
head and its place are authenticated with it: moved to another row, column or tenant it is broken.
"""

import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Final, Protocol

from factory_mcp.domain.key_ring import ID_BYTES, KEY_BYTES, KeyRing, parse
from factory_mcp.domain.seal_errors import KeyMissing, SealBroken
from factory_mcp.ports import Place

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION: Final = b"\1"
HEAD: Final = len(VERSION) + ID_BYTES
NONCE: Final = 12
TAG: Final = 16
OVERHEAD: Final = HEAD + NONCE + TAG
"""Bytes that a sealed value is longer than the plain one."""

_BLIND_BYTES: Final = 12
_TENANTS_KEPT: Final = 1024


class KeyStore(Protocol):
    """Where the text of the key ring is kept. What cannot be read is KeyRingUnusable."""

    @property
    def where(self) -> str:
        """Its name for people."""
        ...

    def version(self) -> Hashable:
        """Changes whenever `read` would give something else; cheap."""
        ...

    def read(self) -> str:
        """The text."""
        ...

    def write(self, text: str, *, new: bool = False) -> bool:
        """Keep the text, whole or not at all; False where nothing can be written.

        A `new` one is kept only if there is none: of several starters the first one's stays.
        """
        ...


class Sealing:
    """The port Sealer. A ring that changes is followed at once, by every process that uses it."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._version: Hashable = None
        self._ring: KeyRing | None = None
        self._ciphers: dict[tuple[str, str], AESGCM] = {}
        self._blinders: dict[str, bytes] = {}

    def seal(self, place: Place, plain: bytes) -> bytes:
        """The value as it is stored, `OVERHEAD` bytes longer; another one each time."""
        key_id = self.ring().newest
        head = VERSION + bytes.fromhex(key_id)
        nonce = secrets.token_bytes(NONCE)
        sealed = self._cipher(key_id, place.tenant).encrypt(nonce, plain, head + _bound(place))
        return head + nonce + sealed

    def unseal(self, place: Place, sealed: bytes) -> bytes:
        """What was sealed.

        Raises:
            SealBroken: It was changed, cut, or sealed for another place.
            KeyMissing: The ring does not have its key.
        """
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 — not before the first use

        head, nonce, rest = sealed[:HEAD], sealed[HEAD : HEAD + NONCE], sealed[HEAD + NONCE :]
        if head[:1] != VERSION or len(rest) < TAG:
            raise _broken(place)
        key_id = head[1:].hex()
        if key_id not in self.ring().keys:
            raise KeyMissing(f"{_named(place)} is sealed with the key {key_id}, which is missing.")
        try:
            return self._cipher(key_id, place.tenant).decrypt(nonce, rest, head + _bound(place))
        except InvalidTag:
            raise _broken(place) from None

    def blind(self, tenant: str, text: str) -> str:
        """A word that stands for the text in an index, 16 characters, the same for ever."""
        key = self._blinders.get(tenant)  # never another one: no need to look at the ring
        if key is None:
            _make_room(self._blinders)
            key = self._blinders[tenant] = _derived(self.ring().index, "blind", tenant)
        digest = hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256")
        return urlsafe_b64encode(digest[:_BLIND_BYTES]).decode()

    def prepare(self) -> None:
        """Make the key ring where it may be made and is not there yet.

        Raises:
            KeyRingUnusable: It can be neither read nor made.
        """
        key = secrets.token_bytes(KEY_BYTES)
        ring = KeyRing(index=secrets.token_bytes(KEY_BYTES), keys={}).plus(key)
        self._store.write(ring.text(), new=True)
        self.ring()

    def ring(self) -> KeyRing:
        """The ring as it is now.

        Raises:
            KeyRingUnusable: It is not there, can be read by others, or is damaged.
        """
        version = self._store.version()
        if self._ring is None or version != self._version:
            ring = parse(self._store.read(), self._store.where)
            self._ciphers, self._blinders = {}, {}
            self._ring, self._version = ring, version
        return self._ring

    def _cipher(self, key_id: str, tenant: str) -> "AESGCM":
        cipher = self._ciphers.get((key_id, tenant))
        if cipher is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 — dito

            _make_room(self._ciphers)
            cipher = AESGCM(_derived(self.ring().keys[key_id], "seal", tenant))
            self._ciphers[key_id, tenant] = cipher
        return cipher


def _derived(key: bytes, purpose: str, tenant: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 — dito
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    info = _joined("factory-mcp", purpose, tenant)
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(key)


def _make_room(kept: dict[Any, Any]) -> None:
    if len(kept) >= _TENANTS_KEPT:
        kept.clear()


def _bound(place: Place) -> bytes:
    return _joined(place.tenant, place.table, place.id, str(place.revision))


def _joined(*parts: str) -> bytes:
    """The parts with their lengths, so that no two lists of parts give the same bytes."""
    raw = [part.encode("utf-8", "surrogatepass") for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in raw)


def _named(place: Place) -> str:
    return f"{place.table} of {place.id}"


def _broken(place: Place) -> SealBroken:
    return SealBroken(f"{_named(place)} does not open: it was damaged or changed.")
