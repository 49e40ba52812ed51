"""A model to search with: images in, embeddings of one gallery out, whichever runtime computes them.

A run is opened without its data set, and an exported file without torch's network; both say what they do to an image
before the network sees it, and both carry the fingerprint of the weights, so that embeddings of two models are never
compared by mistake.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import yaml
from torch import Tensor, nn

from crossreid.data.transforms import MEAN, STD, EvalTransform, Interpolation
from crossreid.errors import CrossreidError
from crossreid.evaluation.embedding import embeddings_of, features_of_images
from crossreid.inference.fusing import fused
from crossreid.methods import MethodOptions, build_method, without_download
from crossreid.methods.method import Method
from crossreid.runs.recipe import Recipe, load_recipe
from crossreid.runs.run import checkpoint_of, sorted_trials
from crossreid.runs.teacher_student import stage_runs
from crossreid.training.bf16 import refuse_broken_bf16
from crossreid.training.checkpoint import fit_weights, load_checkpoint, require

Precision = Literal["float32", "bf16"]
# Keys of a method that say where things were found when it was trained, not what it computes.
_PLACES = ("weights", "teacher", "start", "reset_last_stage")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What is done to a decoded image: resized (antialiased), its values 0 to 1 less `mean` by `std`, channels as named."""

    height: int
    width: int
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    colours: str = "RGB"

    @property
    def transform(self) -> EvalTransform:
        """`(H, W, 3)` uint8 RGB to `(3, height, width)` float32."""
        return EvalTransform(self.height, self.width, self.interpolation)

    def to_json(self) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, given: Mapping[str, Any], where: Path) -> Preprocessing:
        """What `to_json` wrote.

        Raises:
            CrossreidError: a key is missing, or the preprocessing is none that this version does; `where` is named.
        """
        try:
            read = cls(
                int(given["height"]), int(given["width"]), given["interpolation"],
                tuple(given["mean"]), tuple(given["std"]), given["colours"],
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CrossreidError(f"{where}: its preprocessing is incomplete ({error!r}). Export it again.") from error
        ours = cls(read.height, read.width, read.interpolation)
        if read != ours or read.interpolation not in get_args(Interpolation) or min(read.height, read.width) < 1:
            raise CrossreidError(
                f"{where}: expected images of {ours.colours} with mean {ours.mean}, deviation {ours.std}, resized by "
                f"{' or '.join(get_args(Interpolation))}; the file says {read}. Export it again with this version."
            )
        return read


class SearchModel(ABC):
    """A network that embeds for search.

    Attributes:
        source: the run's folder or the exported file.
        method: the method's name.
        preprocessing: what `transform` does to a decoded image.
        dimension: D of its embeddings.
        fingerprint: 64 hexadecimal digits; equal if and only if embeddings may be compared.
        flip: whether an image's mirror image is embedded with it, as the recipe's evaluation does.
        runtime: torch or onnx.
        precision: float32, the reference, or bf16.
    """

    source: Path
    method: str
    preprocessing: Preprocessing
    dimension: int
    fingerprint: str
    flip: bool
    runtime: Literal["torch", "onnx"]
    precision: Precision
    device: torch.device

    @property
    def transform(self) -> EvalTransform:
        """`(H, W, 3)` uint8 RGB, as `crossreid.data.images.load_image` gives it, to `(3, height, width)` float32."""
        return self.preprocessing.transform

    @abstractmethod
    def embed(self, images: Tensor, modalities: Tensor) -> Tensor:
        """Transformed images `(B, 3, H, W)`, `Modality` values `(B,)` to `(B, D)` float32, L2-normalised, on the CPU."""

    @abstractmethod
    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        """Likewise, but not normalised: what is averaged over a tracklet before it is brought to length 1."""

    def embed_sets(self, images: Tensor, modalities: Tensor, sets: Sequence[Sequence[int]]) -> Tensor:
        """`(S, D)` embeddings of S sets (tracklets), each the places of its images among `images`.

        Raises:
            CrossreidError: a set without an image.
        """
        if any(len(places) == 0 for places in sets):
            raise CrossreidError("a set is empty; expected an image or more.")
        features = self.features(images, modalities)
        means = torch.stack([features[list(places)].mean(0) for places in sets])
        return nn.functional.normalize(means, dim=1)

    def with_precision(self, precision: Precision) -> SearchModel:
        """Embed in float32 or bf16 from now on; the model itself.

        Raises:
            CrossreidError: an unknown precision, or one that this runtime or processor has not.
        """
        if precision not in get_args(Precision):
            raise CrossreidError(f"precision {precision!r}: expected float32 or bf16.")
        if precision == "bf16":
            if self.runtime == "onnx":
                raise CrossreidError(
                    f"{self.source}: an exported file computes in float32. Use precision float32 with it."
                )
            if self.device.type == "cpu":
                refuse_broken_bf16()
        self.precision = precision
        return self


class TorchModel(SearchModel):
    """A run's network. `network` is the method itself, in evaluation mode."""

    runtime = "torch"

    def __init__(
        self, source: Path, network: Method, method: str, preprocessing: Preprocessing, fingerprint: str, flip: bool,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.source, self.method, self.preprocessing = source, method, preprocessing
        self.fingerprint, self.flip, self.device, self.precision = fingerprint, flip, device, "float32"
        self.network = network.eval().to(device)
        self.dimension = self.embed(torch.zeros(1, 3, preprocessing.height, preprocessing.width), torch.zeros(1)).shape[
            1
        ]

    def embed(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self._through(embeddings_of, images, modalities)

    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self._through(features_of_images, images, modalities)

    @torch.inference_mode()
    def _through(self, what: Any, images: Tensor, modalities: Tensor) -> Tensor:
        images = images.to(self.device, non_blocking=True).to(memory_format=torch.channels_last)
        modalities = modalities.to(self.device, dtype=torch.int64, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            found: Tensor = what(self.network, images, modalities, flip=self.flip)
        return found.cpu()


def open_model(
    path: Path, *, checkpoint: str = "best", precision: Precision = "float32", device: str | None = None,
    fuse: bool = True,
) -> SearchModel:  # fmt: skip
    """Open a run's folder, of stages the last student's, or an exported .onnx file. Needs no data set and no download.

    Args:
        checkpoint: of a run, `best` or `last`.
        device: `cpu`, `cuda`, or one GPU of several, `cuda:1`; by default a GPU where there is one.
        fuse: fold batch norms into the convolutions before them, which is faster and changes no more than rounding; a
            network for analyses is better opened without.

    Raises:
        CrossreidError: what is at `path` is no model, or one that does not fit its recipe.
    """
    path, where = Path(path), device_of(device)
    if is_exported(path):
        from crossreid.inference.onnx_model import OnnxModel

        return OnnxModel(path, where).with_precision(precision)
    run = _read_run(path, checkpoint)
    network = build_for(without_download(run.recipe.method), run.weights, run.file)
    network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    seen = run.preprocessing
    if fuse:
        network = fused(network, seen.height, seen.width)
    name, flip = run.recipe.method.name, run.recipe.evaluation.flip
    return TorchModel(run.folder, network, name, seen, run.fingerprint, flip, where).with_precision(precision)


def is_exported(path: Path) -> bool:
    """Whether a path is that of an exported file, by its name, and not of a run."""
    return path.suffix.lower() == ".onnx"


def device_of(name: str | None) -> torch.device:
    """`cpu`, `cuda`, `cuda:1`, or by default a GPU where there is one.

    Raises:
        CrossreidError: another kind of device, or a GPU that is not there.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, colon, number = name.partition(":")
    if (kind == "cpu" and not colon) or (kind == "cuda" and (not colon or (number.isdecimal() and len(number) < 5))):
        if kind == "cuda" and not torch.cuda.is_available():
            raise CrossreidError(f"device {name!r}: there is no GPU that this PyTorch can use; choose cpu.")
        if colon and int(number) >= torch.cuda.device_count():
            raise CrossreidError(f"device {name!r}: GPUs here are cuda:0 to cuda:{torch.cuda.device_count() - 1}.")
        return torch.device(name)
    raise CrossreidError(f"device {name!r}: expected cpu, cuda, or a GPU by its number, cuda:1 for example.")


def run_fingerprint(path: Path, checkpoint: str = "best") -> str:
    """The fingerprint that `open_model` gives to a run, from its recipe and its checkpoint alone. Raises as it does."""
    return _read_run(path, checkpoint).fingerprint


@dataclass(frozen=True, slots=True)
class _Run:
    """What a run's folder says of its model: the file of its checkpoint and the weights that count there."""

    folder: Path
    file: Path
    recipe: Recipe
    weights: Mapping[str, Tensor]

    @property
    def preprocessing(self) -> Preprocessing:
        data = self.recipe.data
        return Preprocessing(data.height, data.width, data.interpolation)

    @property
    def fingerprint(self) -> str:
        facts = {
            "method": _as_written(self.folder)["method"],
            "preprocessing": self.preprocessing.to_json(),
            "flip": self.recipe.evaluation.flip,
        }
        return fingerprint_of(self.weights, facts)


def _read_run(path: Path, checkpoint: str) -> _Run:
    folder = run_folder(path)
    file = checkpoint_of(folder, checkpoint)
    recipe = load_recipe(folder / "recipe.yaml")
    stored = load_checkpoint(file)
    require(file, stored, kinds=("model",), facts=())
    return _Run(folder, file, recipe, stored.tensors.get("ema") or stored.tensors["model"])


def run_folder(path: Path) -> Path:
    """The run to search with: `path`, or of a folder of stages its last student's.

    Raises:
        CrossreidError: trials, each a model of its own.
    """
    if trials := sorted_trials(path):
        raise CrossreidError(
            f"{path} holds {len(trials)} trials, each a model of its own. Name one, {trials[0]} for example."
        )
    staged = stage_runs(path)
    return staged[-1] if staged else path


def build_for(options: MethodOptions, weights: Mapping[str, Tensor], path: Path) -> Method:
    """The method with a checkpoint's weights; the number of training identities is read off the shapes that depend on it.

    Raises:
        CheckpointError: the weights are not those of the method that `options` describe.
    """
    with torch.random.fork_rng(devices=[]):
        network = build_method(options, 2)
        differ = {
            theirs
            for name, tensor in network.state_dict().items()
            if name in weights and tensor.ndim == weights[name].ndim
            for mine, theirs in zip(tensor.shape, weights[name].shape, strict=True)
            if mine == 2 != theirs
        }
        if len(differ) == 1:
            network = build_method(options, differ.pop())
    fit_weights(network, dict(weights), path)  # strict, so that a wrong number is refused
    return network


def fingerprint_of(weights: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    """SHA-256, hexadecimal, of `facts` and of the names, types, shapes and bytes of the weights."""
    stable = _without_places(facts)
    digest = hashlib.sha256(b"crossreid-model-1\n" + json.dumps(stable, sort_keys=True, default=str).encode())
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _as_written(folder: Path) -> dict[str, Any]:
    """The recipe as the run keeps it: keys that later versions add do not change what an old run is called."""
    given: dict[str, Any] = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    return given


def _without_places(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_places(inner) for key, inner in value.items() if key not in _PLACES}
    return value
