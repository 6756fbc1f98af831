"""Parameters of a search, with some keys changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from project_fixtures import empty_store, empty_study, network, picture, project  # noqa: F401
from search_params import CONTENT

from memtrack.config.params import Params
from memtrack.config.sections.tune import TuneParams
from memtrack.tune.space import Space


@pytest.fixture
def space() -> Callable[..., Space]:
    """A space of the section `tune` that is given."""

    def make(**tune: Any) -> Space:
        return Space(Params.model_validate(CONTENT), TuneParams.model_validate(tune))

    return make
