"""What is reported of all processes."""

from crossreid.inference.bulk import progress
from crossreid.inference.bulk.progress import shared_progress


def test_progress_does_not_list_the_folder_again_and_again(tmp_path, model, records, monkeypatch):
    """Alone not once; among several every 2 seconds, and the others' chunks are reported once each."""
    listed = []

    def counting(folder):
        listed.append(folder)
        return [f"chunk-{number:08d}.safetensors" for number in range(4)] + ["plan.json", "chunk-00000099.safetensors"]

    monkeypatch.setattr(progress, "names_in", counting)
    reported = []
    chunks = [range(8 * number, 8 * number + 8) for number in range(5)]
    alone = shared_progress(lambda done: reported.append(done), tmp_path, chunks, {0}, 1)
    for _ in range(100):
        alone(4)
    alone(0, now=True)
    assert (listed, sum(reported)) == ([], 400)
    clock = iter([0.0, *(0.5 * number for number in range(1, 1000) for _ in range(1))])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    reported.clear()
    several = shared_progress(lambda done: reported.append(done), tmp_path, chunks, {0, 2}, 2)
    for _ in range(20):
        several(4)
    several(0, now=True)
    assert sum(reported) == 80 + 16, "the chunks 1 and 3 are others'"
    assert 3 <= len(listed) <= 7
