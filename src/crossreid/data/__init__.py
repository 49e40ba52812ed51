"""Data: from a copy of a data set on disk to batches of images for training, testing and embedding.

A reader (`readers`, one file per data set, found by name in `catalogue`) turns a copy into a `Split` of `Record`s
(`records`); `checking` verifies a copy first. `images` decodes a file safely, after `costly_files` has inspected it and
within a `deadline`; `transforms`, `channels` and `pseudo_infrared` change its content, `tracklets` and `sampling` say
which images go together, and `training_loading` and `evaluation_loading` make batches of them, as the `data` section of
a recipe (`data_options`) says. `synthetic` renders worlds in the layouts of public data sets.
"""
