"""Part files and their commit, in a local folder or on an object store."""

from colcap.store.commit import WRITER_PREFIX, PartCommit, TableFile, recover
from colcap.store.disk import disk_error, sync, write_atomically
from colcap.store.footer import Footer, count_rows, parse_counts, parse_ending, read_ending, read_footer, versions
from colcap.store.mirrors import as_given, given, helper, mirror_of, opened, readable, source, writable
from colcap.store.names import (
    JOURNAL_PREFIX,
    LOCK_NAME,
    PART_NAME,
    PartFile,
    list_parts,
    own_suffix,
    part_name,
    table_dir,
)
from colcap.store.outgoing import outgoing
from colcap.store.writer import FACT_ROW_GROUP, ROW_GROUP_BYTES, TableWriter, arrow_schema

__all__ = [
    "FACT_ROW_GROUP",
    "JOURNAL_PREFIX",
    "LOCK_NAME",
    "PART_NAME",
    "ROW_GROUP_BYTES",
    "WRITER_PREFIX",
    "Footer",
    "PartCommit",
    "PartFile",
    "TableFile",
    "TableWriter",
    "arrow_schema",
    "as_given",
    "count_rows",
    "disk_error",
    "given",
    "helper",
    "list_parts",
    "mirror_of",
    "opened",
    "outgoing",
    "own_suffix",
    "parse_counts",
    "parse_ending",
    "part_name",
    "read_ending",
    "read_footer",
    "readable",
    "recover",
    "source",
    "sync",
    "table_dir",
    "versions",
    "writable",
    "write_atomically",
]
