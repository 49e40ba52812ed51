"""Embedding millions of images: in chunks, by one process or several, resuming where a killed job stopped.

A job embeds one list of images with one model into one folder. In order:

* `lock`: no other job is working in this folder; `folder`: files there that are not ours are neither replaced nor
  removed.
* `plan`: plan.json pins the list, the model and everything the results depend on. A resuming job must have the same.
* `chunks`: the list is cut into chunks. Each finished one is a file, written under a temporary name, synchronised and
  renamed, so it is complete or absent; which process embeds it follows from its number alone. It also records the sizes
  and modification times of its image files, so that a chunk whose images changed is embedded again.
* `finished`: once all chunks are there, the first process joins them. embeddings.safetensors is renamed into place
  last, and its presence means that the job is done.
* `job` does these things in order; `progress` counts the work of all processes.
"""
