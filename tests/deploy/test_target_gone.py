"""An endpoint whose target came with a package that is not installed any more."""

import pytest

from aiinfra_lab import deploy
from aiinfra_lab.errors import NotFound
from aiinfra_lab.store import open_store
from tests import records


def test_it_is_listed_and_forgotten_and_its_name_is_free_again(register):
    model = register(1)
    records.endpoint("delay", on="nimbus", job="arn:1", champion=model, generation=1, started_at=1.0)
    assert [(item.uri, item.state) for item in deploy.ls()] == [("deploy:delay", "cannot tell")]
    with pytest.raises(NotFound, match="delay runs on nimbus, which no package that is installed brings") as problem:
        deploy.show("delay")
    assert "`%deploy stop delay` forgets it here" in problem.value.fix
    assert deploy.stop("delay").state == "lost"
    [event] = [item.event for item in open_store().events() if item.event.verb == "deploy stop"]
    assert "nimbus" in event.detail["reason"]
    assert deploy.start("delay", model=model).state == "running"
