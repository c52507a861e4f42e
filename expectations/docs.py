"""Data Docs that open from disk: what Great Expectations renders, without scripts, and with a stylesheet of its own beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from firelift.files import storage_errors, write_whole


def write_docs(context: Any, to: Path) -> None:
    context.add_data_docs_site(
        "local",
        {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "site_section_builders": {"expectations": "none", "profiling": "none"},
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(to)},
        },
    )
    context.build_data_docs(site_names=["local"])
