from crossreid.methods import METHODS
from crossreid.runs.key_table import keys


def test_every_key_is_described():
    rows = list(keys())
    assert len(rows) > 60
    assert [key for key, _, _, description in rows if not description] == []


def test_the_table_has_every_method_with_its_own_keys():
    names = [default for key, _, default, _ in keys() if key == "method.name"]
    assert names == list(METHODS)
    rows = [key for key, *_ in keys()]
    assert rows.count("method.purifier_weight") == 1
