"""Where `read_embeddings` was before it was needed to rank as well: `crossreid.evaluation.embedding_files`."""

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
