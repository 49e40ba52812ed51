"""The keys that say what is frozen, and those of before that said it in numbers."""

import pytest
from pydantic import ValidationError

from crossreid.training.options import TrainingOptions


def said(**given):
    options = TrainingOptions(**given)
    return list(options.freeze), options.unfreeze_after


def test_what_earlier_keys_said_is_said_by_parts():
    assert said(frozen_stages=0, frozen_epochs=0) == ([], None)
    assert said(frozen_stages=3) == (["stem", "stage1", "stage2"], None)
    assert said(frozen_epochs=5) == (["backbone"], 5.0)
    assert said(frozen_stages=1, frozen_epochs=5) == (["stem", "backbone"], {"backbone": 5.0})
    assert said(freeze="stem") == (["stem"], None), "one part needs no list"
    written = TrainingOptions(frozen_stages=2).model_dump(mode="json")
    assert "frozen_stages" not in written
    assert TrainingOptions(**written).freeze == ("stem", "stage1")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"freeze": ["layer1"]}, "freeze: 'layer1' is not a part of a network; expected stem, stage1, stage2 ..., backbone"),
        ({"freeze": ["stage0"]}, "freeze: 'stage0' is not a part"),
        ({"freeze": ["stem", "stem"]}, "freeze: 'stem' is named twice"),
        ({"freeze": ["stem"], "unfreeze_after": {"stage1": 2}}, "unfreeze_after: 'stage1' is not frozen; expected of freeze: stem"),
        ({"freeze": ["stem"], "unfreeze_after": -1}, "unfreeze_after: expected epochs, 0 or more, found -1"),
        ({"freeze": ["stem"], "unfreeze_after": {"stem": -2.5}}, "expected epochs, 0 or more, found -2.5"),
        ({"unfreeze_after": 2}, "unfreeze_after is 2, but nothing is frozen"),
        ({"freeze": ["stem"], "frozen_epochs": 0}, "frozen_epochs is the earlier form of freeze"),
        ({"frozen_stages": -1}, "frozen_stages: expected a whole number, 0 or more, found -1"),
        ({"frozen_epochs": "five"}, "frozen_epochs: expected a whole number"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        TrainingOptions(**given)
