"""Files on object stores: their names, and the few requests that colcap makes of a store.

Nothing here knows of tables or runs. The library behind it, obstore, is imported when a store is first asked.
"""

from colcap.objects.client import (
    NEW,
    SINGLE_PUT_BYTES,
    Meta,
    answers,
    copy,
    delete,
    head,
    list_named,
    list_under,
    open_input,
    pieces,
    put,
    read,
    read_bounded,
    read_tail,
    read_with_etag,
    together,
)
from colcap.objects.connection import PATIENCE_S, Changed, NoCredentials, Unreachable, require_library
from colcap.objects.url import HTTP_SCHEMES, Place, Url, is_url, place

__all__ = [
    "HTTP_SCHEMES",
    "NEW",
    "PATIENCE_S",
    "SINGLE_PUT_BYTES",
    "Changed",
    "Meta",
    "NoCredentials",
    "Place",
    "Unreachable",
    "Url",
    "answers",
    "copy",
    "delete",
    "head",
    "is_url",
    "list_named",
    "list_under",
    "open_input",
    "pieces",
    "place",
    "put",
    "read",
    "read_bounded",
    "read_tail",
    "read_with_etag",
    "require_library",
    "together",
]
