"""The published model of arXiv 2511.11706: encoder and decoder (`model`), fusion, losses, and importing its weights.

Model directories name this package as the code of their parts.
"""

from eomm.models.published.fusion import build_fusion as build_fusion
from eomm.models.published.model import PublishedDecoder as PublishedDecoder
from eomm.models.published.model import PublishedEncoder as PublishedEncoder
from eomm.models.published.model import build_decoder as build_decoder
from eomm.models.published.model import build_encoder as build_encoder
from eomm.models.published.model import fill as fill
