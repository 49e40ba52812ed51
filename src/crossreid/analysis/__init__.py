"""Analysis: numbers about what trained networks keep, written as JSON; nothing here trains a network or draws.

Off embeddings: `factors` of rendered images, `probes` that read them, `camera_probe`, `pair_distances`; off a network,
`grad_cam`. Of whole runs: `factors_of_runs` probes them, `views_of_runs` looks at what they make of several views, of
the test images that `asked_images` chooses.
"""
