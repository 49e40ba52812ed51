"""Which calibration judges embeddings: named before the run's, the run's before the one carried along, none of other weights."""

import pytest

from calibrated import known_calibration
from crossreid.data.records import DataError
from crossreid.evaluation.calibration_files import short_text, to_json
from crossreid.files import write_json
from crossreid.galleries import ModelMismatch
from crossreid.galleries.calibrations import calibration_for_folder, calibration_of, named_calibration
from embedded import MODEL, write_folder


@pytest.fixture
def folder(tmp_path):
    """Embeddings that carry a calibration, of a run that has none yet."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text("{}")
    write_folder(tmp_path / "embedded", run=str(run), calibration=short_text(known_calibration(MODEL, low=0.25)))
    return tmp_path / "embedded"


def lowest(calibration):
    return float(calibration.curves["visible-visible"].scores[0])


def calibrated(run, fingerprint, low):
    write_json(run / "calibration.json", to_json(known_calibration(fingerprint, low=low)))


def test_the_run_of_now_goes_before_what_was_carried_along(folder, tmp_path):
    assert lowest(calibration_for_folder(folder, MODEL)) == 0.25
    calibrated(tmp_path / "run", MODEL, 0.5)
    assert lowest(calibration_for_folder(folder, MODEL)) == 0.5
    assert lowest(calibration_of(folder)) == 0.5
    calibrated(tmp_path / "run", "f" * 64, 0.5)  # it was trained on since
    assert lowest(calibration_for_folder(folder, MODEL)) == 0.25


def test_one_of_other_weights_is_refused(folder, tmp_path):
    calibrated(tmp_path / "run", "f" * 64, 0.5)
    write_folder(tmp_path / "bare", run=str(tmp_path / "run"))
    with pytest.raises(ModelMismatch, match=r"the calibration in the run is of model ffffffffffff\.\.\., and"):
        calibration_for_folder(tmp_path / "bare", MODEL)
    with pytest.raises(ModelMismatch, match=r"--calibration .*run is of model ffff"):
        calibration_for_folder(folder, MODEL, tmp_path / "run")
    (tmp_path / "run" / "calibration.json").unlink()
    assert calibration_for_folder(tmp_path / "bare", MODEL) is None


def test_a_name_may_be_a_run_stages_or_a_file(folder, tmp_path):
    with pytest.raises(DataError, match=r"expected the folder of a calibrated run, or a calibration\.json"):
        named_calibration(tmp_path / "run")
    calibrated(tmp_path / "run", MODEL, 0.5)
    for student, low in (("student", 0.1), ("student-2", 0.2)):
        (tmp_path / "stages" / student).mkdir(parents=True)
        (tmp_path / "stages" / student / "recipe.yaml").write_text("{}")
        calibrated(tmp_path / "stages" / student, MODEL, low)
    assert lowest(named_calibration(tmp_path / "run")) == 0.5
    assert lowest(named_calibration(tmp_path / "run" / "calibration.json")) == 0.5
    assert lowest(named_calibration(tmp_path / "stages")) == 0.2, "the last student's"
