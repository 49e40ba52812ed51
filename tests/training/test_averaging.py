import torch
from torch import nn

from crossreid.training.averaging import AveragedWeights
from no_synchronisation import no_synchronisation


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2).double()).train()


def moved(method):
    """The weights of three steps, each of which moves all of them and the statistics."""
    for step in range(3):
        with torch.no_grad():
            for parameter in method.parameters():
                parameter.add_(torch.full_like(parameter, 0.1 * (step + 1)))
            method[1](torch.randn(5, 4, 2, 2))
        yield {name: tensor.clone() for name, tensor in method.state_dict().items()}


def test_it_is_the_moving_average_of_weights_and_the_latest_of_buffers():
    method = network()
    average = AveragedWeights(method, 0.75)
    expected = {}
    for state in moved(method):
        average.update(method)
        for name, tensor in state.items():
            kept = tensor.double()
            if name in expected and "running" not in name and "num_batches" not in name:
                kept = 0.75 * expected[name] + 0.25 * kept
            expected[name] = kept
    assert average.updates == 3
    for name, tensor in average.module.state_dict().items():
        torch.testing.assert_close(tensor.double(), expected[name], atol=1e-6, rtol=1e-6, msg=name)
        assert tensor.dtype == method.state_dict()[name].dtype


def test_it_moves_by_the_bits_of_torchs_own():
    one, other = network(), network()
    ours = AveragedWeights(one, 0.9)
    theirs = torch.optim.swa_utils.AveragedModel(other, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    for method, move in ((one, lambda: ours.update(one)), (other, lambda: theirs.update_parameters(other))):
        torch.manual_seed(1)
        for _ in moved(method):
            move()
    expected = theirs.module.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in ours.module.state_dict().items())


def test_no_update_waits_for_the_device():
    method = network()
    average = AveragedWeights(method, 0.9)
    with no_synchronisation():
        average.update(method)
        average.update(method)


def test_a_buffer_that_is_replaced_is_followed():
    method = network()
    average = AveragedWeights(method, 0.9)
    average.update(method)
    method[1].running_mean = torch.arange(4.0)
    average.update(method)
    assert average.module[1].running_mean.tolist() == [0, 1, 2, 3]
