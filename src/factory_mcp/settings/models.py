"""Models that are not the droid's: the llm backend's and the embedder."""

from pathlib import Path

from factory_mcp.domain.errors import InvalidSetting
from factory_mcp.domain.transit import over_http
from factory_mcp.settings.source import PREFIX, Found, Source, web_address


def llm(source: Source) -> Found:
    """The llm backend; none without an address."""
    name = PREFIX + "LLM_URL"
    url, model = source.text(name), source.text(PREFIX + "LLM_MODEL")
    key = source.bearer(PREFIX + "LLM_KEY")
    window = source.number(PREFIX + "LLM_CONTEXT", 0, 1024, 100_000_000)
    if url is None:
        lost = (("MODEL", model), ("KEY", key), ("CONTEXT", window))
        named = (f"{PREFIX}LLM_{part}" for part, value in lost if value)
        return _unused(name, *named)
    if model is None:
        raise InvalidSetting(f"{name} needs {PREFIX}LLM_MODEL, the model to ask there.")
    parts = web_address(name, url, PREFIX + "LLM_KEY")
    return Found(
        fields={
            "llm_url": url,
            "llm_model": model,
            "llm_key": key,
            "llm_context": window or None,
        },
        links=(over_http(name, parts.scheme, parts.hostname or ""),),
    )


def embedder(source: Source) -> Found:
    """Another embedder than the bundled one: a folder, or an OpenAI-compatible endpoint."""
    name = PREFIX + "EMBEDDER"
    where, model = source.text(name), source.text(name + "_MODEL")
    key = source.bearer(name + "_KEY")
    if where is None or "://" not in where:
        lost = (("_MODEL", model), ("_KEY", key))
        unused = _unused("an address in " + name, *(name + end for end, value in lost if value))
        folder = _folder(name, where) if where else None
        return Found(fields={"embedder_folder": folder}, warnings=unused.warnings)
    if model is None:
        raise InvalidSetting(f"{name} needs {name}_MODEL, the model to ask there.")
    parts = web_address(name, where, name + "_KEY")
    return Found(
        fields={"embedder_url": where, "embedder_model": model, "embedder_key": key},
        links=(over_http(name, parts.scheme, parts.hostname or ""),),
    )


def _folder(name: str, where: str) -> Path:
    folder = Path(where).expanduser().absolute()
    if not folder.is_dir():
        raise InvalidSetting(
            f"{name}: there is no folder {folder}.",
            remedy="Name a model2vec folder, or an address such as http://127.0.0.1:11434/v1.",
        )
    return folder


def _unused(needed: str, *names: str) -> Found:
    return Found(
        fields={}, warnings=tuple(f"{name} is set without {needed}: not used." for name in names)
    )
