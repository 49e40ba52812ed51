"""The HTTP service: a model, a gallery, and who may ask them. `crossreid serve` runs it; docs/service.md describes it.

A request passes, in this order:

    http_server    uvicorn, which cuts off whoever is too slow, and takes requests of one meaning only (`strict_http`)
    guard          the key, the rate (`rate_limits`), the whole body (`request_body`), how many at a time (`shares`)
    application    the routes, the page, one shape for every error (`refusals`)
    routes/        what can be asked, by subject; fields are checked by `schemas` and `forms`, images by `uploads`
    search_service what routes ask: the network and the gallery in batches, files and databases in threads

Images are decoded by `decoders`, in processes of their own (`decoder_process`) that can be ended, for the keys by `turns`.
`batching` gathers what many requests ask for at the same time, `batched_queries` computes it; `explainer` makes maps,
`pictures` finds the image of an entry, also among the `kept_images`. Beside requests, `housekeeping` deletes what has had its
time. `watch_folder` is the folder of a watch, who was where, which `watch_schemas` put into words.
`audit` writes down who was shown what, `metrics` counts. An operator decides by `configuration`, `endpoint` and `keys`;
`startup` puts everything together, in one process or, for a gallery in a cluster, in several: `workers` starts each as a
`worker`, which shares with its `siblings` what must not depend on who answers: limits (`shared_memory`), what changes left
(`leftovers`), housekeeping.
page/ is what people see, and asks the same routes as any other client.
"""
