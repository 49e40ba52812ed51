"""The former location of `read_embeddings`, now in `crossreid.evaluation.embedding_files`, as ranking needs it too."""

from crossreid.evaluation.embedding_files import (
    BAD_IMAGES,
    EMBEDDINGS,
    FORMAT,
    RECORDS,
    SCHEMA,
    Embeddings,
    as_metadata,
    check_folder,
    read_about,
    read_embeddings,
    table_of,
    write_rows,
    write_table,
)

__all__ = [
    "BAD_IMAGES", "EMBEDDINGS", "FORMAT", "RECORDS", "SCHEMA", "Embeddings", "as_metadata", "check_folder",
    "read_about", "read_embeddings", "table_of", "write_rows", "write_table",
]  # fmt: skip
