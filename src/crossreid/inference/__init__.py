"""A trained network made ready to embed: opened, exported, and run over any number of images.

* `open_model` opens a run (torch) or an exported file as an `EmbeddingModel`: prepared images in, L2-normalised
  embeddings out. It says what is done to an image first (`preprocessing`) and carries a `fingerprint`; embeddings of two
  fingerprints must not be compared. `engines` has one file per engine that computes.
* `exporting` writes the network as a file of its own, and compares it with torch before the file is there (`agreement`).
* `embed` takes a folder, a manifest or a data set (`sources`) to embeddings on disk (`embedding_files`); `bulk` does it
  in chunks, by one process or several, and goes on after a kill.

Nothing here searches: galleries do.
"""
