"""Devices by their names."""

import pytest
import torch

from crossreid.inference.open_model import open_model


@pytest.mark.parametrize("name", ["gpu9", "meta", "cpu:0x", "cuda:-1", "cuda:x", "", "mps"])
def test_devices_that_are_none_are_refused_by_name(name, tmp_path):
    with pytest.raises(ValueError, match=rf"device '{name}': expected cpu, cuda, or a GPU by number"):
        open_model(tmp_path, device=name)


@pytest.mark.parametrize("name", ["cuda", "cuda:99"])
def test_gpus_that_are_not_there_are_refused(name, tmp_path):
    if torch.cuda.is_available() and name == "cuda":
        pytest.skip("there is one")
    with pytest.raises(ValueError, match=rf"device '{name}': (this PyTorch finds no usable GPU|GPUs here are)"):
        open_model(tmp_path, device=name)
