"""Which samples networks are trained on."""

from __future__ import annotations

import numpy as np

from memtrack.core.memorization.subsets import UtilityNetwork, subset, utility_members


def test_subsets_are_of_the_share_and_of_the_number() -> None:
    drawn = [subset(1000, model, share=0.7, seed=1) for model in range(200)]
    assert {int(chosen.sum()) for chosen in drawn} == {700}
    assert len({chosen.tobytes() for chosen in drawn}) == 200
    often = np.mean(drawn, axis=0)
    assert np.abs(often - 0.7).max() < 5 * np.sqrt(0.7 * 0.3 / 200)


def test_who_remains_without_the_memorized() -> None:
    memorization = np.array([0.9, 0.1, np.nan, 0.5, 0.3, 0.2])

    def rows(counter: int, threshold: float | None = None, random: bool = False) -> list[int]:
        network = UtilityNetwork(counter, threshold, random)
        return np.flatnonzero(utility_members(memorization, 0, network.number)).tolist()

    assert rows(0) == [0, 1, 2, 3, 4, 5]
    assert rows(0, 0.25) == rows(7, 0.25) == [1, 2, 5]
    assert rows(0, 0.5) == [1, 2, 3, 4, 5]
    random = [tuple(rows(counter, 0.25, True)) for counter in range(300)]
    assert {len(chosen) for chosen in random} == {3}
    assert len(set(random)) == 20  # all of three out of six
    assert rows(4, 0.25, True) == list(random[4])
    assert {len(rows(counter, 0.5, True)) for counter in range(5)} == {5}


def test_the_number_of_a_network_is_its_own_and_says_which_it_is() -> None:
    networks = [
        UtilityNetwork(counter, threshold, random)
        for threshold in (None, *(step / 1000 for step in range(1000)))
        for random in ((False, True) if threshold is not None else (False,))
        for counter in (0, 1, 999_999)
    ]
    numbers = [network.number for network in networks]
    assert len(set(numbers)) == len(networks)
    assert [UtilityNetwork.of(number) for number in numbers] == networks
