"""From a finished sweep to a registered model, or to the reasons why not."""

from __future__ import annotations

import sys

from cmir.serving import predictor, refused_request, requests

# Versions registered before the packages had these names carry a copy of code that imports the old
# ones; without these aliases they could no longer be loaded.
sys.modules |= {
    "cmir.promotion.ensemble": predictor,
    "cmir.promotion.refused_request": refused_request,
    "cmir.promotion.requests": requests,
}
