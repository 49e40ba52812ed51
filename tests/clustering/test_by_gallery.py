"""A gallery clustered: its index finds the nearest, its entries keep all but get names."""

import numpy as np
import pytest

from crossreid.clustering.by_gallery import searches_of, write_identities
from crossreid.clustering.cluster_crops import ClusterOptions, cluster_crops
from crossreid.clustering.crops import crops_of_gallery
from crossreid.errors import CrossreidError
from crossreid.galleries import Entries, open_gallery
from drawn_crops import at, people, same_partition
from embedded import MODEL


def opened(where, *, modalities=1, index="hnsw"):
    rows, who = people(30, 10, dimension=48, noise=0.4)
    gallery = open_gallery(where, model=MODEL, dimension=48, index=index)
    gallery.add(
        Entries(
            rows, ids=[f"{row * 7 % 300:03}" for row in range(300)], cameras=np.arange(300) % 4, times=np.arange(300.0),
            modalities=np.arange(300) % modalities, sources=[f"a.jpg#xywh={row},0,4,8" for row in range(300)],
            identities=["known" if person == 3 else None for person in who],
        )
    )  # fmt: skip
    return gallery, {f"{row * 7 % 300:03}": int(person) for row, person in enumerate(who)}


@pytest.mark.parametrize("modalities", [1, 2])
def test_the_index_of_a_gallery_finds_what_comparing_with_all_finds(tmp_path, modalities):
    gallery, who = opened(tmp_path / "gallery", modalities=modalities)
    with gallery:
        gallery.build_index()
        crops = crops_of_gallery(gallery)
        searches = searches_of(gallery, crops)
        by_index = cluster_crops(crops, at(0.6, crops), ClusterOptions(frames=False), searches=searches)
        compared = cluster_crops(crops, at(0.6, crops), ClusterOptions(frames=False, nearest=32))
        assert by_index.nearest == 32
        assert by_index.links == compared.links
        assert same_partition(by_index.labels, compared.labels)
        assert same_partition(by_index.labels, [who[name] for name in crops.ids])
        hdbscan = ClusterOptions(method="hdbscan", min_cluster=5, frames=False)
        if modalities == 1:
            assert same_partition(cluster_crops(crops, None, hdbscan, searches=searches).labels, by_index.labels)
        else:
            with pytest.raises(CrossreidError, match="of one modality"):
                cluster_crops(crops, None, hdbscan, searches=searches)


def test_boxes_of_one_picture_are_apart_in_a_gallery_too(tmp_path):
    gallery, _ = opened(tmp_path / "gallery", index="exact")
    with gallery:
        crops = crops_of_gallery(gallery)
        assert crops.boxes[crops.ids.index("007")] == (1, 0, 5, 8)
        assert len(cluster_crops(crops, at(0.6, crops)).sizes) == 300


def test_names_are_written_to_entries_without_one_and_nothing_else_is_changed(tmp_path):
    gallery, who = opened(tmp_path / "gallery", index="exact")
    with gallery:
        crops = crops_of_gallery(gallery)
        found = cluster_crops(crops, at(0.6, crops), ClusterOptions(frames=False))
        before = dict(zip(crops.ids, gallery.get(crops.ids), strict=True))
        gone, named = next(name for name, person in who.items() if person == 6), "050"
        gallery.delete([gone])
        assert who[named] != 3
        gallery.upsert(Entries(before[named].embedding[None], ids=[named], identities=["named meanwhile"]))
        gallery.clock = lambda: 1e9  # an entry that is added anew would say so
        assert write_identities(gallery, crops, found.labels) == (288, 29)
        after = dict(zip(crops.ids, gallery.get(crops.ids), strict=True))
        assert after[gone] is None
        assert after[named].identity == "named meanwhile"
        for name in set(crops.ids) - {gone, named}:
            one, other = before[name], after[name]
            assert np.array_equal(one.embedding, other.embedding)
            for field in ("id", "camera", "modality", "time", "source", "added"):
                assert getattr(one, field) == getattr(other, field)
            if who[name] == 3:
                assert other.identity == "known"
            else:
                assert other.identity.startswith("cluster-")
        names = [(after[name].identity, who[name]) for name in crops.ids if name not in (gone, named)]
        assert same_partition(*zip(*names, strict=True))
        assert write_identities(gallery, crops_of_gallery(gallery), found.labels[:299]) == (0, 0)
