"""How long a body may be is a setting."""

import pytest

from aiinfra_lab.config import settings
from aiinfra_lab.deploy.server.protocol import body_bytes
from aiinfra_lab.errors import UsageProblem


@pytest.mark.parametrize(("mib", "found"), [(None, 1 << 20), ("8", 8 << 20), ("0.5", 1 << 19)])
def test_how_long_a_body_may_be_is_a_setting(workspace, monkeypatch, mib, found):
    if mib:
        monkeypatch.setenv("AIINFRA_DEPLOY_BODY_MIB", mib)
    assert body_bytes(settings()) == found


@pytest.mark.parametrize("mib", ["0", "-1", "nan", "65"])
def test_a_limit_that_is_no_size_is_refused(workspace, monkeypatch, mib):
    monkeypatch.setenv("AIINFRA_DEPLOY_BODY_MIB", mib)
    with pytest.raises(UsageProblem, match="no size of a body"):
        body_bytes(settings())
