import mlflow
import numpy as np
import onnx
import pytest
import xgboost
from sklearn.linear_model import LogisticRegression

from aiinfra_lab import models
from aiinfra_lab.config import settings
from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.models.importers.mlflow import MlflowFolder
from aiinfra_lab.testing.models import ImporterContract
from aiinfra_lab.train.mlflow import client, tracking_uri

from .made import LOGITS, ROWS, linear
from .tables import NAMES, churned, customers
from .test_xgboost import answers, booster


class TestMlflow(ImporterContract):
    @pytest.fixture
    def importer(self, workspace):
        return MlflowFolder(settings())

    @pytest.fixture
    def trained(self):
        rows = customers()
        return booster(rows, churned(rows, 3), objective="multi:softprob", num_class=3)

    @pytest.fixture
    def file(self, trained, tmp_path):
        mlflow.xgboost.save_model(trained, tmp_path / "churn", pip_requirements=[])
        return tmp_path / "churn"

    @pytest.fixture
    def example(self):
        return {"rows": customers(40, seed=1)}

    @pytest.fixture
    def rows(self):
        return customers(200, seed=2)[NAMES]

    @pytest.fixture
    def expected(self, trained, rows):
        return answers(trained, rows)


def test_onnx_is_taken_as_it_is(workspace):
    mlflow.onnx.save_model(onnx.load(linear(workspace / "net.onnx")), "net", pip_requirements=[])
    made = models.add("net", from_="net", example={"x": ROWS})
    assert np.allclose(made.predict([{"x": row.tolist()} for row in ROWS]), LOGITS, atol=1e-6)


def test_a_pickle_is_refused_and_skops_is_taken(workspace):
    rows = customers()[["age"]] / 90
    model = LogisticRegression().fit(rows, churned(customers()))
    mlflow.sklearn.save_model(model, "old", pip_requirements=[], serialization_format="pickle")
    with pytest.raises(UsageProblem, match=r"no file that can be read without running it, of python_function, sklearn"):
        models.add("churn", from_="old", rows=rows)
    mlflow.sklearn.save_model(model, "new", pip_requirements=[], serialization_format="skops")
    made = models.add("churn", from_="new", rows=rows)
    assert np.allclose(made.predict(rows), model.predict_proba(rows), atol=1e-5)


def test_a_file_outside_the_folder_is_refused(workspace):
    (workspace / "net").mkdir()
    linear(workspace / "net.onnx")
    (workspace / "net" / "MLmodel").write_text("flavors:\n  onnx:\n    data: ../net.onnx\n")
    with pytest.raises(UsageProblem, match=r"names \.\./net\.onnx, outside its folder"):
        models.add("net", from_="net", example={"x": ROWS})


def test_what_the_registry_has_comes_by_its_uri(workspace, monkeypatch):
    rows = customers()
    trained = booster(rows, churned(rows), objective="binary:logistic")
    mlflow.xgboost.save_model(trained, "churn", pip_requirements=[])
    with client() as server:
        place = (workspace / "artifacts").as_uri()
        run = server.create_run(server.create_experiment("other", artifact_location=place))
        server.log_artifacts(run.info.run_id, "churn", "model")
        server.create_registered_model("churn")
        server.create_model_version("churn", f"{run.info.artifact_uri}/model", run.info.run_id)
        server.set_registered_model_alias("churn", "best", "1")
    assert "sqlite" in tracking_uri()
    for uri in ("models:/churn/1", "models:/churn@best", f"runs:/{run.info.run_id}/model"):
        made = models.add("churn", from_=uri, rows=rows)
        assert made.uri == "models:churn@1"
    assert made.source.startswith("runs:/") or made.source.startswith("models:/churn/1 (mlflow")
    wanted = trained.predict(xgboost.DMatrix(rows[NAMES].to_numpy(), feature_names=NAMES))
    assert np.allclose(made.predict(rows[NAMES])[:, 1], wanted, atol=1e-5)
