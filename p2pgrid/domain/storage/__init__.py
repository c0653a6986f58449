"""Where a domain is kept: a database, and files of asset bytes beside it."""

from p2pgrid.domain.storage.database import Storage
from p2pgrid.domain.storage.files import AssetFiles

__all__ = ["AssetFiles", "Storage"]
