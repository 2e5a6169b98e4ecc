"""Every family does what the embedded model does: all checks on a tiny model of each."""

from __future__ import annotations

import pytest
from family_checks import CHECKS
from tiny_vlm import tiny_models


@pytest.mark.parametrize("name", sorted(tiny_models()))
@pytest.mark.parametrize("check", CHECKS)
def test_family(name, check):
    CHECKS[check](name)
