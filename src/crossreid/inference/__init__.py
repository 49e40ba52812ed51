"""A trained network made ready to embed: opened, exported, and run over any number of images.

* `open_model` opens a run (torch) or an exported file as an `EmbeddingModel`: prepared images in, L2-normalised
  embeddings out. It states how images are prepared (`preprocessing`) and carries a `fingerprint`; embeddings with
  different fingerprints must not be compared. `engines` has one file per engine.
* `embed` takes a folder, a manifest or a data set (`sources`) to embeddings on disk (`embedding_files`); `bulk` does it
  in chunks, by one process or several, and goes on after a kill.

Nothing here searches: galleries do.
"""
