"""The REST of a Jupyter server whose workspace is in a PostgreSQL that restarts or hangs."""

import threading

import pytest

from aiinfra_lab.errors import StoreUnavailable
from aiinfra_lab.jupyter import items
from aiinfra_lab.nouns import Noun
from aiinfra_lab.store import open_store
from tests.browser.serving import serve
from tests.conftest import end_supervisor
from tests.postgres import needs_postgres, postgres

pytest.importorskip("psycopg")
pytestmark = needs_postgres
__all__ = ["postgres"]


@pytest.fixture
def served(postgres, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    (root / "aiinfra.toml").write_text(f'[store]\nurl = "{postgres.url}"')
    found = serve("jupyter_server", tmp_path_factory.mktemp("server"), root)
    yield found
    found.stop()
    end_supervisor(root)


def test_requests_to_a_store_that_hangs_are_answered_503_and_the_others_at_once(postgres, served):
    answers = []
    assert served.call("GET", "/aiinfra/items")[0] == 200
    with postgres.frozen():
        asking = [
            threading.Thread(target=lambda: answers.append(served.call("GET", "/aiinfra/items"))) for _ in range(20)
        ]
        for thread in asking:
            thread.start()
        assert served.call("GET", "/aiinfra/nothing")[0] == 404
        assert answers == []  # it was answered before any of them
        assert served.call("POST", "/aiinfra/deploy/stop", {"args": ["delay"]})[0] == 503
        for thread in asking:
            thread.join()
    assert [(status, bool(answer["fix"])) for status, answer, _ in answers] == [(503, True)] * 20
    assert served.call("GET", "/aiinfra/items")[0] == 200


def test_after_a_restart_the_first_requests_are_answered(postgres, served):
    assert served.call("GET", "/aiinfra/items")[0] == 200
    postgres.restart()
    assert served.call("GET", "/aiinfra/items")[0] == 200
    postgres.restart()
    assert served.call("POST", "/aiinfra/data/check", {"args": ["none"]})[0] == 202


def test_a_store_that_is_away_while_a_noun_is_asked_is_an_error_and_no_wrong_list(workspace, monkeypatch):
    class Away(Noun):
        def watched(self, ended=20):
            raise StoreUnavailable("the store is away", "repeat")

    open_store()
    monkeypatch.setattr(items.nouns, "every", lambda: [Away()])
    with pytest.raises(StoreUnavailable):
        items.current()
