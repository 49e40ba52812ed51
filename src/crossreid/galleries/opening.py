"""Open a gallery by where it is: a folder in process, a Milvus Lite file (.db), or a Milvus cluster by its address."""

from __future__ import annotations

from pathlib import Path

from crossreid.galleries.errors import GalleryError
from crossreid.galleries.gallery import Advance, Gallery
from crossreid.galleries.indexes import IndexOptions

CLUSTER = ("http://", "https://", "tcp://")


def open_gallery(
    where: str | Path,
    *,
    model: str | None = None,
    dimension: int | None = None,
    index: IndexOptions | str | None = None,
    create: bool | None = None,
    read_only: bool = False,
    token: str | None = None,
    collection: str = "crossreid",
) -> Gallery:
    """Open a gallery, or create it.

    `where` is a folder (faiss in process), a path that ends in .db (Milvus Lite), or an address that starts with http://,
    https:// or tcp:// (a Milvus cluster, with its `token`, in `collection`). `model` is the fingerprint of the model that
    embeds, and `dimension` how many numbers it gives: both are needed to create, and compared otherwise. `create`: True
    for a new gallery only, False for one that is there only (as with `read_only`), None for either. `index` is of a new
    gallery; that of an old one is changed by `build_index`.
    Raises `GalleryError` where it is there or is not, `ModelMismatch` for another fingerprint, `GalleryLocked` where it is
    open for writing elsewhere.
    """
    options = IndexOptions(index) if isinstance(index, str) else index or IndexOptions()  # type: ignore[arg-type]
    if dimension is not None and dimension < 1:
        raise GalleryError(f"expected a dimension of at least 1, found {dimension}.")
    create = False if read_only else create
    gallery: Gallery
    where = place_of(where)
    if is_milvus(where):
        from crossreid.galleries.milvus_gallery import MilvusGallery

        gallery = MilvusGallery(
            where, model=model, dimension=dimension, options=options, create=create, token=token,
            collection=collection, read_only=read_only,
        )  # fmt: skip
    else:
        from crossreid.galleries import store
        from crossreid.galleries.faiss_gallery import FaissGallery

        folder = Path(where)
        there = (folder / store.FILE).is_file()
        refuse_unless(where, there, create, model, dimension)
        if there:
            gallery = FaissGallery(folder, model=model, read_only=read_only)
        else:
            assert model is not None
            assert dimension is not None
            gallery = FaissGallery.create(folder, model, dimension, options)
    if dimension is not None and gallery.dimension != dimension:
        found = gallery.dimension
        gallery.close()
        raise GalleryError(f"{where} holds embeddings of {found} dimensions, and is to be opened for {dimension}.")
    return gallery


def place_of(where: str | Path) -> str:
    """An address or a path, each as it is written in one way only. Raises `GalleryError` for an address that is none."""
    text = str(where)
    if "://" not in text:
        return str(Path(text))
    if not text.startswith(CLUSTER):
        raise GalleryError(f"{text}: expected an address that starts with {', '.join(CLUSTER)}, or a path.")
    address = text.rstrip("/")
    if address.endswith(".db"):  # which pymilvus would take for a file
        raise GalleryError(
            f"{text}: an address of a cluster names a host, a port and perhaps a database, and does not end in .db; a Milvus "
            "Lite file is named by its path."
        )
    return address


def is_milvus(place: str) -> bool:
    """Whether an address or a path, as `place_of` returns it, is Milvus's."""
    return place.startswith(CLUSTER) or is_lite(place)


def is_lite(place: str) -> bool:
    """Whether a place is a Milvus Lite file."""
    return not place.startswith(CLUSTER) and place.endswith(".db")


def refuse_unless(where: str, there: bool, create: bool | None, model: str | None, dimension: int | None) -> None:
    """Raise `GalleryError` where a gallery is there and should be new, or is not and cannot be created."""
    if there and create:
        raise GalleryError(f"{where} is a gallery already; open it, or create another.")
    if there:
        return
    if create is False or (create is None and (model is None or dimension is None)):
        raise GalleryError(f"{where} holds no gallery. Create one: `crossreid gallery create`.")
    if not model or dimension is None:
        raise GalleryError("a new gallery needs the fingerprint of its model and the dimension of its embeddings.")
    if len(model.encode()) > 1024 or not model.isprintable():
        raise GalleryError("the fingerprint of a model is printable text of at most 1024 bytes.")


def restore(
    snapshot: Path,
    where: str | Path,
    advance: Advance | None = None,
    *,
    token: str | None = None,
    collection: str = "crossreid",
) -> None:
    """Copy a snapshot to a place where there is no gallery yet: a folder, a Milvus Lite file or a cluster.

    Where it ends early there is nothing, or in Milvus a part that is never opened and that restoring again replaces.
    `token` and `collection` as in `open_gallery`. Raises `GalleryError` where there is a gallery already.
    """
    where = place_of(where)
    with open_gallery(snapshot, create=False, read_only=True) as source:
        if not is_milvus(where):
            source.snapshot(Path(where))
            return
        from crossreid.galleries.milvus_gallery import MilvusGallery

        with MilvusGallery(
            where, model=source.model, dimension=source.dimension, options=IndexOptions(), create=True, token=token,
            collection=collection, read_only=False, restoring=True,
        ) as target:  # fmt: skip
            for batch in source.batches():
                target.upsert(batch)
                if advance is not None:
                    advance(len(batch), len(source))
            target.restored()
