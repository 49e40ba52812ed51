"""The HTTP service: a model, a gallery, and their users' keys. `crossreid serve` runs it; docs/service.md describes it.

A request passes, in this order:

    http_server    uvicorn, which disconnects slow clients and rejects ambiguous requests (`strict_http`)
    guard          the key, the rate limit (`rate_limits`), the whole body (`request_body`), concurrency (`shares`)
    application    the routes, the page, one format for all errors (`refusals`)
    routes/        the endpoints, by subject; fields are checked by `schemas` and `forms`, images by `uploads`
    search_service what routes call: the network and the gallery in batches, files and databases in threads

Images are decoded by `decoders` in separate processes (`decoder_process`) that can be killed; keys take turns (`turns`).
`batching` groups what many requests need at the same time, `batched_queries` computes it; `explainer` makes maps,
`pictures` finds the image of an entry, including those in `kept_images`. Outside of requests, `housekeeping` deletes
what has expired. `watch_folder` is the folder of a watch, who was where; `watch_schemas` are its responses.
`audit` records who was shown what, `metrics` counts. An operator decides by `configuration`, `endpoint` and `keys`;
`startup` puts everything together, in one process or, for a gallery in a cluster, in several: `workers` starts each as a
`worker`, which shares with its `siblings` what must not depend on which of them answers: limits (`shared_memory`), what
changes left behind (`leftovers`), housekeeping.
page/ is the web interface; it uses the same routes as any other client.
"""
