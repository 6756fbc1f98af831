"""Bits of networks on the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memtrack.core.memorization.correct_predictions import (
    CorrectPredictions,
    DamagedNetworks,
    Flags,
    OtherNetworks,
)

PATH = Path("networks.npz")


@pytest.fixture
def drawn() -> tuple[Flags, Flags]:
    draw = np.random.default_rng(0)
    return draw.random((9, 37)) < 0.5, draw.random((9, 11)) < 0.5


def empty(key: str = "here", samples: tuple[int, int] = (37, 11)) -> CorrectPredictions:
    return CorrectPredictions(key, samples)


def holding(numbers: list[int], drawn: tuple[Flags, Flags]) -> CorrectPredictions:
    made = empty()
    made.add(numbers, *(flags[numbers] for flags in drawn))
    return made


def test_what_is_written_is_read(drawn: tuple[Flags, Flags]) -> None:
    written, found = holding([4, 8, 0, 5, 6], drawn), empty()
    written.write(PATH, [0, 5, 8])
    assert found.read(PATH) == [0, 5, 8]
    assert (len(found), 8 in found, 4 in found) == (3, True, False)
    for kept in written, found:
        for split, flags in zip(("train", "test"), drawn, strict=True):
            assert (kept.flags(split, [8, 0, 5]) == flags[[8, 0, 5]]).all()
    assert found.flags("train", []).shape == (0, 37)
    content = PATH.read_bytes()
    found.write(PATH, [0, 5, 8])
    assert PATH.read_bytes() == content


def test_a_network_in_two_files_counts_once(drawn: tuple[Flags, Flags]) -> None:
    holding([2, 3], drawn).write(PATH, [2, 3])
    found = holding([3], drawn)
    assert found.read(PATH) == [2]
    assert len(found) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "array"])
def test_a_damaged_file_is_said_and_stays(damage: str, drawn: tuple[Flags, Flags]) -> None:
    holding([0, 1], drawn).write(PATH, [0, 1])
    content = bytearray(PATH.read_bytes())
    if damage == "flipped":
        content[content.index(np.packbits(drawn[0][0]).tobytes())] ^= 1
    PATH.write_bytes({"cut": content[:-200], "empty": b"", "text": b"networks"}.get(damage, bytes(content)))
    if damage == "array":
        with PATH.open("wb") as file:
            np.save(file, drawn[0])
    found = holding([5], drawn)
    with pytest.raises(DamagedNetworks):
        found.read(PATH)
    assert len(found) == 1
    assert PATH.exists()


def test_whatever_byte_is_changed_it_is_damaged_or_right(drawn: tuple[Flags, Flags]) -> None:
    written = holding([0, 1], drawn)
    written.write(PATH, [0, 1])
    content = PATH.read_bytes()
    for place in range(0, len(content), 3):
        changed = bytearray(content)
        changed[place] ^= 255
        PATH.write_bytes(bytes(changed))
        found = empty()
        try:
            found.read(PATH)
        except DamagedNetworks:
            continue
        for split in ("train", "test"):
            assert (found.flags(split, [0, 1]) == written.flags(split, [0, 1])).all()


@pytest.mark.parametrize("other", [empty("there"), empty(samples=(80, 11)), empty(samples=(37, 3))])
def test_other_networks_are_not_taken(other: CorrectPredictions, drawn: tuple[Flags, Flags]) -> None:
    holding([0], drawn).write(PATH, [0])
    with pytest.raises(DamagedNetworks, match="holds other networks"):
        other.read(PATH)
    assert len(other) == 0


def test_log_odds_are_kept_where_they_are_wanted(drawn: tuple[Flags, Flags]) -> None:
    """Networks without them, or with those of other code, are not taken."""
    odds = np.random.default_rng(1).normal(size=(9, 37)).astype(np.float32)
    with_odds = CorrectPredictions("here", (37, 11), "code")
    with_odds.add([4, 8, 0], *(flags[[4, 8, 0]] for flags in drawn), odds[[4, 8, 0]])
    with_odds.write(PATH, [0, 8])
    found = CorrectPredictions("here", (37, 11), "code")
    assert found.read(PATH) == [0, 8]
    assert (found.log_odds([8, 0]) == odds[[8, 0]]).all()
    assert found.log_odds([8]).dtype == np.float32
    content = PATH.read_bytes()
    found.write(PATH, [0, 8])
    assert PATH.read_bytes() == content
    plain = empty()
    assert plain.read(PATH) == [0, 8]
    plain.write(PATH, [0, 8])
    holding([0, 8], drawn).write(PATH.with_name("other.npz"), [0, 8])
    assert PATH.read_bytes() == PATH.with_name("other.npz").read_bytes()
    for key in ("code", "newer"):
        if key == "newer":
            PATH.write_bytes(content)
        lacking = CorrectPredictions("here", (37, 11), key)
        with pytest.raises(OtherNetworks, match="holds no log odds"):
            lacking.read(PATH)
        assert 0 not in lacking
    for damaged in (odds[[0, 8], :36], odds[[0, 8]].astype(np.float64)):
        train, test = (np.packbits(flags[[0, 8]], axis=1) for flags in drawn)
        np.savez(
            PATH, key="here", numbers=[0, 8], train=train, test=test, log_odds=damaged, log_odds_key="code"
        )
        with pytest.raises(OtherNetworks, match="holds no log odds"):
            found.read(PATH)
