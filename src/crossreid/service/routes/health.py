"""State of the service: liveness, what it is and allows, what its gallery holds, its metrics for Prometheus."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import Request, Response

import crossreid
from crossreid.evaluation.calibration import about as calibration_about
from crossreid.service.routes.dependencies import ANY_KEY, CurrentService, needs, router_of_refusals
from crossreid.service.schemas import threshold_out
from crossreid.service.uploads import FORMATS

router = router_of_refusals()


@router.get("/v1/health", tags=["service"])
async def health() -> dict[Literal["status"], Literal["ok"]]:
    """Answers while the service is up. Needs no key."""
    return {"status": "ok"}


@router.get("/v1/about", tags=["service"], dependencies=ANY_KEY)
async def about(request: Request, service: CurrentService) -> dict[str, Any]:
    """The key's name and roles; the model and its calibration; the operator's threshold; the limits."""
    threshold = threshold_out(service.threshold)
    key, model, options = request.state.key, service.model, service.options
    size = model.preprocessing
    return {
        "name": key.name, "roles": list(key.roles), "version": crossreid.__version__,
        "model": {
            "fingerprint": model.fingerprint, "method": model.method, "dimension": model.dimension,
            "height": size.height, "width": size.width, "runtime": model.runtime, "precision": model.precision,
            "preprocessing": size.to_json(), "trained": model.trained or None,
        },
        "calibration": calibration_about(service.calibration),
        "threshold": None if threshold is None else threshold.model_dump(),
        "workers": service.siblings.count, "attention": service.explainer is not None, "watch": service.watch is not None,
        "maps": [] if service.explainer is None else service.explainer.kinds, "retention_days": options.retain_days,
        "limits": {
            "images": options.max_images, "bytes": options.max_bytes, "pixels": options.max_pixels,
            "k": options.max_k, "formats": list(FORMATS),
        },
    }  # fmt: skip


@router.get("/v1/stats", tags=["gallery"], dependencies=needs("search"))
async def stats(service: CurrentService) -> dict[str, Any]:
    """What the gallery holds."""
    found = await service.in_thread(service.gallery.stats)
    return {name: getattr(found, name) for name in found.__dataclass_fields__}


@router.get(
    "/metrics", tags=["service"], dependencies=ANY_KEY, response_class=Response,
    responses={200: {"content": {"text/plain": {}}}},
)  # fmt: skip
async def metrics(service: CurrentService) -> Response:
    """Metrics for Prometheus."""
    text = await service.in_thread(service.metrics.text)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
