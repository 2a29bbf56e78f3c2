"""A model's address, and how it is spoken of."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from factory_mcp.backends import texts

_OUR_OWN: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An OpenAI-compatible address: `url` is the base to which `/chat/completions` is added.

    `context_tokens` is the model's context window, None where nobody said what it is.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    context_tokens: int | None = None

    @property
    def chat(self) -> str:
        """Where a conversation is sent."""
        return f"{self.url.rstrip('/')}/chat/completions"

    @property
    def models(self) -> str:
        """Where the models are listed."""
        return f"{self.url.rstrip('/')}/models"

    @property
    def here(self) -> str | None:
        """The host, if it is this machine: no proxy can reach that for us."""
        host = urlsplit(self.url).hostname
        return host if host in _OUR_OWN else None

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries; nothing compressed, so that a limit in bytes is one."""
        key = {} if self.key is None else {"authorization": f"Bearer {self.key}"}
        return {"accept-encoding": "identity", "user-agent": "factory-mcp", **key}

    def hide(self, text: str) -> str:
        """The text without the key, and without what looks like one."""
        return texts.hide(texts.writable(text), [self.key] if self.key else [])
