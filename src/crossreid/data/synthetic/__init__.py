"""A rendered world of people, vehicles and animals seen by several cameras, in the layouts of public data sets.

It stands in for data sets that cannot be redistributed: small, complete copies that the real readers read, with the
ground truth of every image. For each kind of subject, one module defines who they are (`people`, `vehicles`,
`animals`), others draw them (`..._body`, `vehicle_faces`) and make images (`..._images`, `walks`); `cameras`, `scenes`,
`canvas` and `solids` are shared. The `..._layouts` say which images a copy has and write its lists; `world` combines
everything. `city` films people who walk through the views of six cameras.
"""

from crossreid.data.synthetic.city import synthesise_city
from crossreid.data.synthetic.sheet import contact_sheet
from crossreid.data.synthetic.world import LAYOUTS, synthesise

__all__ = ["LAYOUTS", "contact_sheet", "synthesise", "synthesise_city"]
