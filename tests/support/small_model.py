"""Small runs on disk, as `crossreid train` leaves them, without the training: a recipe and weights that are no fresh draw."""

import torch

from crossreid.files import write_text
from crossreid.methods import METHODS, build_method
from crossreid.runs.recipe import make_recipe
from crossreid.training.checkpoint import Checkpoint, save_checkpoint

HEIGHT, WIDTH = 48, 32
NETWORK = {"name": "test_resnet", "weights": "none"}
TRANSFORMER = {"name": "test_vit", "weights": "none", "last_stride_one": False}


def recipe_of(method="baseline", *, flip=False, network=NETWORK, size=(HEIGHT, WIDTH), **options):
    data = {"name": "sysu-mm01", "root": "/nowhere/at/all", "height": size[0], "width": size[1], "workers": 0}
    if method == "agw":
        network = {"non_local": [0, 1, 1, 0], **network}  # its stages have a block each
    if method == "transreid" and network is NETWORK:
        network = TRANSFORMER
    given = {"name": method, "backbone": network, **options}
    return make_recipe({"data": data, "method": given, "evaluation": {"flip": flip}})


def trained_method(recipe, classes=7):
    """The method with statistics and shifts of its batch norms as training leaves them, in evaluation mode."""
    torch.manual_seed(0)
    method = build_method(recipe.method, classes).train()
    modalities = torch.arange(8) % 2
    with torch.no_grad():
        for _ in range(2):
            method.predict(torch.randn(8, 3, recipe.data.height, recipe.data.width), modalities)
        for parameter in method.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn_like(parameter)
    return method.eval()


def write_run(folder, recipe, classes=7, *, ema=False):
    """A run's folder; with `ema` the averaged weights are the method's and the plain ones are not. Gives the method."""
    method = trained_method(recipe, classes)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "recipe.yaml", recipe.as_yaml())
    weights = method.state_dict()
    tensors = {"model": weights}
    if ema:
        tensors = {"model": {name: torch.zeros_like(tensor) for name, tensor in weights.items()}, "ema": weights}
    save_checkpoint(folder / "last.safetensors", Checkpoint(tensors, {}))
    return method


EVERY_METHOD = sorted(METHODS)
