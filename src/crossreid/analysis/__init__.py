"""Analysis: numbers about what trained networks encode, written as JSON; nothing here trains a network or plots.

From embeddings: `factors` of rendered images, `probes` that read them, `camera_probe`, `pair_distances`; from a
network: `grad_cam`. For whole runs: `factors_of_runs` probes them, `views_of_runs` analyses how they use several views,
on the test images that `asked_images` chooses.
"""
