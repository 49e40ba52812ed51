"""The study of estimators: resumed where it was."""

import json

from crossreid.studies.estimators import run_estimators


def test_estimators_go_on_where_they_were(tmp_path):
    rows = run_estimators(tmp_path, seeds=[0], steps=3, values=[1.0])
    assert len(rows) == 8  # four estimators, two dimensions
    stored = tmp_path / "estimators.json"
    kept = json.loads(stored.read_text())["estimates"]
    stored.write_text(json.dumps({"estimates": kept[:5]}))
    again = run_estimators(tmp_path, seeds=[0], steps=3, values=[1.0])
    assert again == rows
