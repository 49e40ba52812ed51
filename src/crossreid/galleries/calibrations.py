"""Which calibration applies to embeddings: the one named, the run's current one, or the one stored with them.

A calibration belongs to the weights it was made with, and does not apply to others.
"""

from __future__ import annotations

from pathlib import Path

from crossreid.data.addresses import Place
from crossreid.data.records import DataError
from crossreid.evaluation.calibration import Calibration
from crossreid.evaluation.calibration_files import FILE, from_short_text, read_file
from crossreid.evaluation.embedding_files import EMBEDDINGS, read_about
from crossreid.galleries.errors import ModelMismatch
from crossreid.galleries.gallery import Gallery
from crossreid.runs.named_network import pretrained_at


def calibration_of(path: Place) -> Calibration | None:
    """The calibration for the input of `read_entries`: the current one in the model's run, else that in the folder."""
    return next(iter(_of_embeddings(path)), None)


def calibration_for(gallery: Gallery, named: Path | None) -> Calibration | None:
    """The calibration for a gallery's scores: the named one, else its own, else that in its recorded run.

    Raises:
        DataError: there is none under that name.
        ModelMismatch: the named one is of another model.
    """
    if named is not None:
        return checked(named_calibration(named), gallery.model, f"--calibration {named}", gallery.location)
    found, run = gallery.calibration(), gallery.run()
    if found is None and run is not None and pretrained_at(run) is None:
        found = calibration_at(run)
    return found if found is not None and found.fingerprint == gallery.model else None


def calibration_for_folder(folder: Place, model: str, named: Path | None = None) -> Calibration | None:
    """The calibration for a folder's embeddings by `model`: the named one, else its own.

    Of its own, that in the run takes precedence over the folder's, which may be outdated.

    Raises:
        DataError: there is none under that name.
        ModelMismatch: the named one, or each of the folder's own, is of another model.
    """
    if named is not None:
        return checked(named_calibration(named), model, f"--calibration {named}", str(folder))
    own = _of_embeddings(folder)
    for found in own:
        if found.fingerprint == model:
            return found
    return checked(own[0], model, "the calibration in the run", str(folder)) if own else None


def named_calibration(named: Path) -> Calibration:
    """The calibration in a run's folder, in the last student's of a folder of stages, or in a file.

    Raises `DataError` if there is none, or it is damaged.
    """
    found = calibration_at(named)
    if found is None and named.is_dir():
        from crossreid.runs.stored_run import run_folder  # here, as this imports torch, which takes seconds

        found = calibration_at(run_folder(named))
    if found is None:
        raise DataError(f"--calibration {named}: expected the folder of a calibrated run, or a {FILE}.")
    return found


def checked(calibration: Calibration, model: str, what: str, where: str) -> Calibration:
    """The calibration. Raises `ModelMismatch`, naming it as `what`, if it is not of the `model` of `where`."""
    if calibration.fingerprint != model:
        raise ModelMismatch(
            f"{what} is of model {_short(calibration.fingerprint)}, and {where} is of {_short(model)}. "
            "Calibrate the model that embedded: crossreid calibrate RUN."
        )
    return calibration


def calibration_at(path: Path) -> Calibration | None:
    """The calibration in a run's folder, or in a calibration's file; None if there is none. Does not need torch.

    Raises `DataError` if it is damaged.
    """
    file = path / FILE if path.is_dir() else path
    return read_file(file) if file.is_file() and file.suffix == ".json" else None


def _of_embeddings(path: Place) -> list[Calibration]:
    """The calibrations that embeddings refer to, that in their run first."""
    found = []
    run = run_of(path)
    if run is not None and pretrained_at(run) is None and (now := calibration_at(run)) is not None:
        found.append(now)
    if path.is_dir() and "calibration" in (about := read_about(path)):
        found.append(from_short_text(about["calibration"], path / EMBEDDINGS))
    return found


def _short(fingerprint: str) -> str:
    return f"{fingerprint[:12]}..." if fingerprint else "unknown"


def run_of(path: Place) -> Path | None:
    """The location of the run or exported file behind the input of `read_entries`, if recorded."""
    if path.is_dir():
        told = read_about(path).get("run")
        return Path(told) if told else None
    if not isinstance(path, Path):
        return None
    return path.absolute().parent if path.with_name("recipe.yaml").is_file() else None
