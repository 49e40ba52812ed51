"""What can be asked over HTTP: a router for each subject, all of them on one `SearchService`.

Each route says in its decorator which role it needs, checks what came, asks the service, writes into the audit log, and
only then answers, with a class of `service.schemas`.
"""

from crossreid.service.routes import deleting, enrolling, health, maps, searches, showing, watching

ROUTERS = (
    health.router, showing.router, searches.router, maps.router, enrolling.router, deleting.router, watching.router,
)  # fmt: skip
