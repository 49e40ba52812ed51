"""Opening a gallery by its location: a folder in process, a Milvus Lite file (.db), or a Milvus cluster's address."""

from __future__ import annotations

from pathlib import Path

from crossreid.extras import require
from crossreid.galleries.errors import GalleryError
from crossreid.galleries.gallery import Advance, Gallery
from crossreid.galleries.index_options import IndexOptions
from crossreid.galleries.location import Consistency, check_consistency, is_milvus, location_of


def open_gallery(
    location: str | Path,
    *,
    model: str | None = None,
    dimension: int | None = None,
    index: IndexOptions | str | None = None,
    create: bool | None = None,
    read_only: bool = False,
    token: str | None = None,
    collection: str = "crossreid",
    consistency: Consistency = "strong",
) -> Gallery:
    """Open a gallery, or create it.

    `location` is a folder (faiss in process), a path that ends in .db (Milvus Lite), or an address that starts with
    http://, https:// or tcp:// (a Milvus cluster, with its `token`, in `collection`). `model` is the fingerprint of the
    model that embeds, and `dimension` the size of its embeddings: both are required to create one, and else compared.
    `create`: True for a new gallery only, False for an existing one only (as with `read_only`), None for either.
    `index` is for a new gallery; that of an existing one is changed by `build_index`. `consistency` of searches in a
    cluster: "strong" finds everything that was acknowledged; "bounded" may miss the last seconds of that, "eventually"
    guarantees nothing; both answer sooner. Raises `GalleryError` if it exists or is missing against `create`,
    `ModelMismatch` for another fingerprint, `GalleryLocked` if it is open for writing elsewhere.
    """
    options = IndexOptions(index) if isinstance(index, str) else index or IndexOptions()  # type: ignore[arg-type]
    if dimension is not None and dimension < 1:
        raise GalleryError(f"expected a dimension of at least 1, found {dimension}.")
    create = False if read_only else create
    location = location_of(location)
    check_consistency(location, consistency)
    gallery: Gallery
    # Imported here: each backend needs its own library.
    if is_milvus(location):
        from crossreid.galleries.milvus.milvus_gallery import MilvusGallery

        gallery = MilvusGallery(
            location, model=model, dimension=dimension, options=options, create=create, token=token,
            collection=collection, read_only=read_only, consistency=consistency,
        )  # fmt: skip
    else:
        require("a gallery in a folder", "faiss")  # before anything is written
        from crossreid.galleries.local.faiss_gallery import FaissGallery

        gallery = FaissGallery.opened(
            Path(location), model=model, dimension=dimension, options=options, create=create, read_only=read_only
        )
    if dimension is not None and gallery.dimension != dimension:
        found = gallery.dimension
        gallery.close()
        raise GalleryError(f"{location} holds embeddings of {found} dimensions, but was to be opened for {dimension}.")
    return gallery


def restore(
    snapshot: Path,
    location: str | Path,
    advance: Advance | None = None,
    *,
    token: str | None = None,
    collection: str = "crossreid",
) -> None:
    """Copy a snapshot to a new gallery: a folder, a Milvus Lite file or a cluster.

    If interrupted, it leaves nothing, or in Milvus a part that is never opened and is replaced by restoring again.
    `token` and `collection` as in `open_gallery`. Raises `GalleryError` if the gallery exists.
    """
    location = location_of(location)
    with open_gallery(snapshot, create=False, read_only=True) as source:
        if not is_milvus(location):
            source.snapshot(Path(location))
            return
        from crossreid.galleries.milvus.milvus_gallery import MilvusGallery

        with MilvusGallery(
            location, model=source.model, dimension=source.dimension, options=IndexOptions(), create=True, token=token,
            collection=collection, read_only=False, restoring=True,
        ) as target:  # fmt: skip
            for part in source.batches():
                target.upsert(part)
                if advance is not None:
                    advance(len(part), len(source))
            target.note_as(source)
            target.restored()
