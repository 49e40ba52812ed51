import os

from crossreid.errors import CrossreidError
from crossreid.inference.processes import Group, process_group
from forked import ran_together


def shared_and_refused(folder):
    """What this process gets where only the first one computes, and where that fails."""
    with process_group() as group:
        first = group.shared(lambda: f"of {group.rank}, {os.getpid()}")
        try:
            group.shared(lambda: refuse(group.rank))
        except CrossreidError as error:
            (folder / str(group.rank)).write_text(f"{first}; {error}", encoding="utf-8")


def refuse(rank):
    raise CrossreidError(f"refused by {rank}")


def test_the_first_process_decides_for_all(tmp_path):
    ran_together(2, shared_and_refused, tmp_path, folder=tmp_path)
    ours, theirs = ((tmp_path / str(rank)).read_text(encoding="utf-8") for rank in range(2))
    assert ours == theirs
    assert ours.startswith("of 0, ")
    assert ours.endswith("; refused by 0")


def test_one_process_decides_by_itself():
    assert Group().shared(lambda: 5) == 5
