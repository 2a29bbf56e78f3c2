"""Sealing: what is sealed opens only unchanged, in its place, and with its key."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory_mcp.domain.key_ring import KeyRing, key_id, parse
from factory_mcp.domain.seal_errors import KeyMissing, KeyRingUnusable, SealBroken
from factory_mcp.ports import Place
from factory_mcp.services.sealing import HEAD, NONCE, OVERHEAD, TAG, Sealing
from factory_mcp.stores.key_file import KeyFile
from tests.keys import NEW, OLD, RING, TWO, sealing

PLACE = Place(tenant="acme", table="runs.request", id="run_1", revision=3)
PLAIN = "Grüße \ud83d\0 an alle".encode("utf-8", "surrogatepass")


@pytest.mark.requirement("SEAL-1")
@given(plain=st.binary(max_size=2000))
def test_what_is_sealed_comes_back(plain: bytes) -> None:
    """Whatever it is, and not the same seal twice."""
    sealer = sealing()
    one, other = sealer.seal(PLACE, plain), sealer.seal(PLACE, plain)
    assert plain == sealer.unseal(PLACE, one) == sealer.unseal(PLACE, other)
    assert one != other
    assert len(plain) + OVERHEAD == len(one)


@pytest.mark.requirement("SEAL-2")
@pytest.mark.parametrize(
    "other",
    [
        replace(PLACE, tenant="acm"),
        replace(PLACE, tenant="acmeruns.request", table=""),
        replace(PLACE, table="runs.output"),
        replace(PLACE, id="run_2"),
        replace(PLACE, revision=4),
        replace(PLACE, id="run_13", revision=0),
    ],
)
def test_a_seal_opens_nowhere_else(other: Place) -> None:
    """Not in another tenant, column, row or revision, and lengths cannot be shifted."""
    sealer = sealing()
    with pytest.raises(SealBroken, match="does not open"):
        sealer.unseal(other, sealer.seal(PLACE, PLAIN))


@pytest.mark.requirement("SEAL-3")
@pytest.mark.parametrize("length", [0, 1, HEAD, HEAD + NONCE, HEAD + NONCE + TAG - 1, -1])
def test_a_seal_that_was_cut_is_broken(length: int) -> None:
    """From nothing at all to all but the last byte."""
    sealer = sealing()
    with pytest.raises(SealBroken, match=r"runs\.request of run_1") as caught:
        sealer.unseal(PLACE, sealer.seal(PLACE, PLAIN)[:length])
    assert "seal_broken" == caught.value.code


@pytest.mark.requirement("SEAL-3")
def test_every_flipped_bit_is_found() -> None:
    """Version, key id, nonce, text and tag; a key id that nobody has is a missing key."""
    sealer = sealing()
    sealed = sealer.seal(PLACE, PLAIN)
    for at in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[at // 8] ^= 1 << at % 8
        expected = KeyMissing if 1 <= at // 8 < HEAD else SealBroken
        with pytest.raises(expected):
            sealer.unseal(PLACE, bytes(changed))
    longer = sealed + b"\0"
    with pytest.raises(SealBroken):
        sealer.unseal(PLACE, longer)


@pytest.mark.requirement("SEAL-4")
def test_the_newest_key_seals_and_every_key_opens() -> None:
    """After a rotation old values open; without their key they name it."""
    before = sealing().seal(PLACE, PLAIN)
    both = sealing(TWO)
    assert PLAIN == both.unseal(PLACE, before)
    after = both.seal(PLACE, PLAIN)
    assert bytes.fromhex(key_id(NEW)) == after[1:HEAD]
    only_new = sealing(TWO.minus([key_id(OLD)]))
    assert PLAIN == only_new.unseal(PLACE, after)
    with pytest.raises(KeyMissing, match=key_id(OLD)):
        only_new.unseal(PLACE, before)


@pytest.mark.requirement("SEAL-4")
def test_no_two_tenants_share_a_key() -> None:
    """Neither for values nor for words."""
    sealer = sealing()
    assert sealer.blind("acme", "word cache") != sealer.blind("globex", "word cache")
    with pytest.raises(SealBroken):
        sealer.unseal(replace(PLACE, tenant="globex"), sealer.seal(PLACE, PLAIN))
    many = [sealer.blind(f"tenant {number}", "x") for number in range(1100)]
    assert many[0] == sealer.blind("tenant 0", "x")


@pytest.mark.requirement("SEAL-5")
def test_blind_words_outlive_a_rotation() -> None:
    """16 characters each, whatever the word."""
    words = ["cache", "", "\ud83d", "x" * 5000]
    before, after = sealing(), sealing(TWO.minus([key_id(OLD)]))
    blind = [before.blind("acme", word) for word in words]
    assert blind == [after.blind("acme", word) for word in words]
    assert {16} == {len(word) for word in blind}
    assert 4 == len(set(blind))


# -------------------------------------------------------------------------------- the ring


@pytest.mark.requirement("SEAL-6")
def test_a_ring_comes_back_from_its_text() -> None:
    """As a file or on one line, keys in order."""
    for text in (TWO.text(), TWO.line(), TWO.line().replace(",", " \n")):
        ring = parse(text, "here")
        assert (RING.index, [OLD, NEW]) == (ring.index, list(ring.keys.values()))
    assert key_id(NEW) == TWO.newest
    assert OLD.hex() not in repr(TWO)
    assert "keys" not in repr(TWO)


@pytest.mark.requirement("SEAL-6")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "entry 1 is damaged"),
        ("# only a comment", "entry 1 is damaged"),
        (RING.line().partition(",")[0], "one `index` and at least one `key`"),
        (RING.line().partition(",")[2], "one `index` and at least one `key`"),
        (RING.line()[:-2], "entry 2 is damaged"),
        (RING.line().replace("b29vb29v", "b29wb29v", 1), "entry 2 is damaged"),
        (RING.line().replace(":b2", ":b3"), "entry 2 is damaged"),
        (RING.line() + "," + RING.line().partition(",")[2], "is there twice"),
        (RING.line() + "�", "entry 2 is damaged"),
    ],
)
def test_a_damaged_ring_says_where_and_shows_no_key(text: str, why: str) -> None:
    """Half pasted, edited by hand, doubled."""
    with pytest.raises(KeyRingUnusable, match=why) as caught:
        parse(text, "RING")
    assert "b29vb29v" not in caught.value.message
    assert "keyring_unusable" == caught.value.code


@pytest.mark.requirement("SEAL-14")
def test_a_key_that_waits_opens_and_does_not_seal() -> None:
    """Until it is activated; so nobody seals with what another replica cannot open."""
    waiting = parse(RING.plus(NEW, waits=True).text(), "here")
    assert (key_id(OLD), key_id(NEW)) == (waiting.newest, waiting.next)
    ahead = sealing(TWO).seal(PLACE, PLAIN)
    behind = sealing(waiting)
    assert PLAIN == behind.unseal(PLACE, ahead)
    assert bytes.fromhex(key_id(OLD)) == behind.seal(PLACE, PLAIN)[1:HEAD]
    assert TWO == waiting.activated()
    assert RING == waiting.minus([key_id(NEW)])
    assert waiting == waiting.minus(["another"])


@pytest.mark.requirement("SEAL-14")
@pytest.mark.parametrize(
    ("line", "why"),
    [
        (RING.plus(NEW, waits=True).line().replace("key:", "next:"), "at least one `key`"),
        (TWO.line() + "," + RING.plus(NEW, waits=True).line().rpartition(",")[2], "no `key`"),
    ],
)
def test_a_ring_with_a_wrong_next_is_damaged(line: str, why: str) -> None:
    """Nothing would seal, or one key would be two things."""
    with pytest.raises(KeyRingUnusable, match=why):
        parse(line, "RING")


# -------------------------------------------------------------------------------- its file


def _filed(path: Path, *, make: bool = True) -> Sealing:
    return Sealing(KeyFile(path, make=make))


@pytest.mark.requirement("SEAL-7")
def test_the_ring_is_made_once_for_this_users_eyes(tmp_path: Path) -> None:
    """The first starter's stays; nothing else is left in the folder."""
    path = tmp_path / "data" / "keyring"
    one, other = _filed(path), _filed(path)
    assert KeyFile(path, make=True).write(RING.text(), new=True)
    one.prepare()
    other.prepare()
    assert RING.keys == one.ring().keys == other.ring().keys
    assert 0o600 == path.stat().st_mode & 0o777
    assert 0o700 == path.parent.stat().st_mode & 0o777
    assert [path] == list(path.parent.iterdir())


@pytest.mark.requirement("SEAL-7")
def test_starters_that_race_agree_on_one_ring(tmp_path: Path) -> None:
    """Whoever comes second finds the first one's, even if neither had seen a file."""
    path = tmp_path / "keyring"

    class Late(KeyFile):
        """Looks before the other has written, and writes afterwards."""

        def _draft(self, text: str) -> Path:
            _filed(path).prepare()
            return super()._draft(text)

    late = Sealing(Late(path, make=True))
    late.prepare()
    assert _filed(path).ring().keys == late.ring().keys
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.requirement("SEAL-7")
def test_a_ring_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """With the mend; and it is taken again once it is mended, by a running process."""
    path = tmp_path / "keyring"
    sealer = _filed(path)
    sealer.prepare()
    sealed = sealer.seal(PLACE, PLAIN)
    path.chmod(0o640)
    with pytest.raises(KeyRingUnusable, match="can be read by others") as caught:
        sealer.unseal(PLACE, sealed)
    assert f"Run: chmod 600 {path}" == caught.value.remedy
    path.chmod(0o600)
    assert PLAIN == sealer.unseal(PLACE, sealed)


@pytest.mark.requirement("SEAL-7")
def test_a_named_ring_is_never_made_and_a_lost_one_never_replaced(tmp_path: Path) -> None:
    """What was sealed with it would be lost for good."""
    path = tmp_path / "keyring"
    with pytest.raises(KeyRingUnusable, match="No such file"):
        _filed(path, make=False).prepare()
    sealer = _filed(path)
    sealer.prepare()
    path.unlink()
    with pytest.raises(KeyRingUnusable, match="No such file"):
        sealer.seal(PLACE, PLAIN)
    (tmp_path / "a file").write_text("")
    with pytest.raises(KeyRingUnusable, match=r"Not a directory|File exists"):
        _filed(tmp_path / "a file" / "keyring").prepare()


@pytest.mark.requirement("SEAL-8")
def test_a_rotation_is_followed_by_a_running_process(tmp_path: Path) -> None:
    """The file is replaced whole, and the next value is sealed with the new key."""
    path = tmp_path / "keyring"
    file = KeyFile(path, make=True)
    sealer = _filed(path)
    file.write(RING.text(), new=True)
    before = sealer.seal(PLACE, PLAIN)
    assert file.write(TWO.text())
    assert 0o600 == path.stat().st_mode & 0o777
    assert bytes.fromhex(key_id(NEW)) == sealer.seal(PLACE, PLAIN)[1:HEAD]
    assert PLAIN == sealer.unseal(PLACE, before)


def test_a_ring_without_keys_is_no_ring() -> None:
    """Dropping all of them is not something that can be read back."""
    with pytest.raises(KeyRingUnusable):
        parse(KeyRing(index=b"i" * 32, keys={}).text(), "here")
