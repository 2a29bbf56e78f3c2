"""Arguments against a tool's schema: one clear error that names the field and the remedy."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast

from jsonschema import Draft202012Validator

from factory_mcp.domain.errors import InvalidArguments, TooLarge
from factory_mcp.domain.model import Json

MAX_DEPTH: Final = 32
MAX_CHARACTERS: Final = 900_000


def check(schema: Json, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that do not fit.

    Raises:
        InvalidArguments: Naming the field, what is wrong with it and what would be right.
        TooLarge: All strings together are longer than `MAX_CHARACTERS`.
    """
    total = 0
    for path, text in _strings(arguments, "", 0):
        total += len(text)
        _check_text(path, text)
    if total > MAX_CHARACTERS:
        raise TooLarge(f"The arguments hold {total} characters; the limit is {MAX_CHARACTERS}.")
    validator: Any = Draft202012Validator(schema)
    errors: list[Any] = sorted(validator.iter_errors(arguments), key=_weight)
    if errors:
        raise InvalidArguments(_explain(errors[0]))


def _strings(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > MAX_DEPTH:
        raise InvalidArguments(f"`{path}` is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[str, Any]", value).items():
            inner = f"{path}.{key}" if path else key
            yield inner, key
            yield from _strings(item, inner, depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[Any]", value)):
            yield from _strings(item, f"{path}[{index}]", depth + 1)


def _check_text(path: str, text: str) -> None:
    shown = path.encode("ascii", "backslashreplace").decode()
    if "\x00" in text:
        raise InvalidArguments(f"`{shown}` holds a NUL character; remove it.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArguments(
            f"`{shown}` holds half of a surrogate pair at character {error.start}; "
            "send valid Unicode."
        ) from error


def _weight(error: Any) -> tuple[bool, int]:
    """A misspelt name explains a missing one; then what is nearest to the top."""
    return error.validator != "additionalProperties", len(error.absolute_path)


def _explain(error: Any) -> str:
    """One sentence for a jsonschema ValidationError (untyped upstream)."""
    field = ".".join(map(str, error.absolute_path)) or "arguments"
    match error.validator:
        case "additionalProperties":
            return _unknown_field(error, field)
        case "required":
            missing = next(name for name in error.validator_value if name not in error.instance)
            return f"`{missing}` is missing."
        case "type":
            return (
                f"`{field}` must be of type {error.validator_value}, not {_kind(error.instance)}."
            )
        case "enum":
            return f"`{field}` must be one of {_words(error.validator_value)}."
        case "maxLength" | "minLength" as rule:
            bound = "most" if rule == "maxLength" else "least"
            return (
                f"`{field}` must have at {bound} {error.validator_value} characters, "
                f"not {len(error.instance)}."
            )
        case _:
            return f"`{field}`: {error.message[:200]}."


def _unknown_field(error: Any, field: str) -> str:
    known = list(error.schema["properties"])
    name = next(str(n) for n in error.instance if n not in known)
    near = difflib.get_close_matches(name, known, n=1)
    inside = "" if field == "arguments" else f" in `{field}`"
    hint = f"; did you mean `{near[0]}`?" if near else f"; known are {_words(known)}."
    return f"`{name[:80]}` is not a known field{inside}{hint}"


def _words(values: Iterable[Any]) -> str:
    return ", ".join(f"`{value}`" for value in values)


_KINDS: Final[dict[type[object], str]] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    dict: "object",
    list: "array",
    type(None): "null",
}


def _kind(value: object) -> str:
    return _KINDS[type(value)]
