"""Network weights for tests, fetched where there is a network or a cache."""

from __future__ import annotations

import pytest

from engines.errors import UserError
from engines.weights_cache import WeightsFile, load


def fetched(file: WeightsFile) -> bytes:
    """Loads weights; skips the test where they cannot be had, and only then."""
    try:
        return load(file)
    except UserError as error:
        if "could not be fetched" in str(error):
            pytest.skip(str(error))
        raise
