"""Embedding millions of images: in chunks, by one process or several, and again from where a killed job stopped.

A job is the embedding of one list of images by one model into one folder. In the order of what happens:

* `lock`: no other job is at this folder; `folder`: what lies there and is not ours is neither replaced nor removed.
* `plan`: plan.json pins the list, the model and all that the numbers depend on. Whoever goes on must have the same.
* `chunks`: the list is cut into chunks. Each finished one is a file, written under a temporary name, synchronised and
  renamed, so that it is whole or not there; which process embeds it follows from its number alone. It also says how
  large its images' files were and when they were changed, so that a chunk of other images is embedded again.
* `finished`: when all chunks are there, the first process joins them. embeddings.safetensors is renamed into place last,
  and its being there means that the job is done.
* `job` does these things in their order; `progress` counts what all processes have done.
"""
