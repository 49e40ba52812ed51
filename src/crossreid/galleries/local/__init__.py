"""A gallery in this process: entries in SQLite, vectors in memory, compared by faiss; `faiss_gallery` combines them."""
