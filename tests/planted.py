"""Looking for words in all the files of a folder, however they may be written there."""

from base64 import b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path


def traces(folder: Path, planted: Iterable[str]) -> set[str]:
    """The words that stand in a file of the folder or in a file's name, in any usual encoding.

    A word should have ten characters or more: a shorter one may turn up by chance.
    """
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    contents.append("\n".join(map(str, folder.rglob("*"))).encode())
    return {
        word
        for word in planted
        if any(form in content for form in _forms(word) for content in contents)
    }


def _forms(word: str) -> Iterator[bytes]:
    """The word as bytes: plain, UTF-16, hexadecimal, and base64 at each of its three offsets."""
    raw = word.encode()
    for coded in (raw, word.encode("utf-16-le"), word.encode("utf-16-be"), raw.hex().encode()):
        yield coded
    for before in range(3):
        coded = b64encode(bytes(before) + raw)
        yield coded[4 if before else 0 : len(coded) - 4]
