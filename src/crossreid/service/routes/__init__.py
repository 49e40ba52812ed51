"""The HTTP endpoints: a router per subject, all on one `SearchService`.

Each route states in its decorator which role it needs, checks the input, calls the service, writes to the audit log, and
only then answers, with a class of `service.schemas`.
"""

from crossreid.service.routes import deleting, enrolling, health, maps, searches, showing, watching

ROUTERS = (
    health.router, showing.router, searches.router, maps.router, enrolling.router, deleting.router, watching.router,
)  # fmt: skip
