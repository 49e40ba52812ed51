import torch

from crossreid.losses.pairs import cosines, mean_over, pair_masks


def test_masks_are_of_pairs_and_a_sample_is_none_with_itself():
    positives, negatives = pair_masks(torch.tensor([1, 1, 2]))
    assert positives.tolist() == [[False, True, False], [True, False, False], [False] * 3]
    assert negatives.tolist() == [[False, False, True], [False, False, True], [True, True, False]]


def test_cosines_do_not_lose_precision_in_autocast():
    a, b = torch.randn(3, 50), torch.randn(4, 50)
    with torch.autocast("cpu", torch.bfloat16):
        found = cosines(a, b)
    torch.testing.assert_close(found, torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=2))


def test_a_mean_over_nothing_is_zero_and_infinities_outside_it_do_not_count():
    terms = torch.tensor([1.0, 3.0, torch.inf])
    assert mean_over(terms, torch.tensor([True, True, False])) == 2
    assert mean_over(terms, torch.tensor([False, False, False])) == 0
