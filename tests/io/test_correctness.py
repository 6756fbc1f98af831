"""Bits of networks on the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memtrack.io.correctness import Correctness, Flags

SAMPLES = 37, 11


@pytest.fixture
def drawn() -> tuple[Flags, Flags]:
    draw = np.random.default_rng(0)
    return draw.random((9, 37)) < 0.5, draw.random((9, 11)) < 0.5


def kept(folder: Path) -> Correctness:
    return Correctness(folder, SAMPLES)


def test_what_is_written_is_read_in_any_order(tmp_path: Path, drawn: tuple[Flags, Flags]) -> None:
    networks = kept(tmp_path)
    for numbers in [4, 5, 6], [0], [8, 1]:
        networks.add(numbers, *(flags[numbers] for flags in drawn))
    for found in networks, kept(tmp_path):
        assert len(found) == 6
        assert 7 not in found
        for split, flags in zip(("train", "test"), drawn, strict=True):
            assert (found.flags(split, [8, 0, 5]) == flags[[8, 0, 5]]).all()
    assert networks.flags("train", []).shape == (0, 37)


def test_a_network_in_two_files_counts_once(tmp_path: Path, drawn: tuple[Flags, Flags]) -> None:
    networks = kept(tmp_path)
    networks.add([2, 3], *(flags[[2, 3]] for flags in drawn))
    networks.add([3], *(flags[[3]] for flags in drawn))
    assert len(kept(tmp_path)) == 2


def test_published_networks_are_read_as_their_parts(tmp_path: Path, drawn: tuple[Flags, Flags]) -> None:
    networks = kept(tmp_path / "parts")
    for number in reversed(range(9)):
        networks.add([number], *(flags[[number]] for flags in drawn))
    networks.publish(tmp_path / "whole/networks.npz", 5)
    networks.publish(tmp_path / "again/networks.npz", 5)
    whole = kept(tmp_path / "whole")
    assert len(whole) == 5
    assert (whole.flags("test", range(5)) == drawn[1][:5]).all()
    first, second = ((tmp_path / name / "networks.npz").read_bytes() for name in ("whole", "again"))
    assert first == second


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_file_is_said_and_removed(
    damage: str, tmp_path: Path, drawn: tuple[Flags, Flags], capsys: pytest.CaptureFixture[str]
) -> None:
    networks = kept(tmp_path)
    networks.add([0, 1], *(flags[:2] for flags in drawn))
    networks.add([2], *(flags[[2]] for flags in drawn))
    path = tmp_path / "00000000_2.npz"
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        place = content.index(np.packbits(drawn[0][0]).tobytes())
        content[place] ^= 1
    path.write_bytes({"cut": content[:-200], "empty": b"", "text": b"networks"}.get(damage, bytes(content)))
    again = kept(tmp_path)
    assert (0 in again, 1 in again, 2 in again) == (False, False, True)
    assert f"{path}: is damaged: its networks are trained again" in capsys.readouterr().out
    assert not path.exists()


def test_networks_of_other_samples_are_not_taken(tmp_path: Path, drawn: tuple[Flags, Flags]) -> None:
    kept(tmp_path).add([0], *(flags[[0]] for flags in drawn))
    assert len(Correctness(tmp_path, (80, 11))) == 0
