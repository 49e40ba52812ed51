"""A rendered world of people, vehicles and animals seen by several cameras, in the layouts of public data sets."""

from crossreid.data.synthetic.sheet import contact_sheet
from crossreid.data.synthetic.world import LAYOUTS, synthesise

__all__ = ["LAYOUTS", "contact_sheet", "synthesise"]
