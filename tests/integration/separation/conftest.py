"""An engine on a network whose answer is known."""

from __future__ import annotations

import pytest

from tests.support.networks import PARAMETERS, write_network
from uvr.separation.mdx.engine import MdxEngine


@pytest.fixture(scope="session")
def halving(tmp_path_factory: pytest.TempPathFactory) -> MdxEngine:
    """Half of the mixture is "vocals"."""
    return MdxEngine(write_network(tmp_path_factory.mktemp("model") / "half.onnx"), PARAMETERS, threads=1)
