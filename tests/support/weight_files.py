"""Files of weights as they are fetched: those of a small network, random, but with statistics that no fresh network has."""

import timm
import torch
from safetensors.torch import save_file


def write_weights(path, name="test_resnet", seed=0):
    """Write them; returns the network of timm, with its own pooling, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = timm.create_model(name, num_classes=0).eval()
        for key, tensor in network.state_dict().items():
            if tensor.ndim == 1 and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5) if "var" in key or "weight" in key else tensor.normal_(0, 0.1)
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    return network
