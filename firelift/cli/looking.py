"""The commands that look at a migration before and after: `check` and `show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from firelift.cli.options import OneLineCommand, given, settings_options
from firelift.cli.session import DONE, UNVERIFIED, USAGE, Session, json_option, show_result

if TYPE_CHECKING:
    from firelift.verification.proof import Against

SOURCE = ("firestore_emulator_host", "firebase_service_account")
TARGET = ("database_url", "require_tls", "target_schema")
OF_CHECK = (
    *("supabase_url", "supabase_key", *SOURCE, *TARGET, "trust_owner", "project_id", "firestore_database"),
    *("collections", "exclude_collections", "mapping", "naming", "read_time"),
    *("max_reads", "max_cost", "read_price", "max_workers", "range_documents", "working_dir", "verbose"),
)


@click.command(cls=OneLineCommand)
@settings_options(only=OF_CHECK)
@json_option
@click.pass_obj
def check(session: Session, /, as_json: bool, **options: Any) -> int:
    """Check both sides and reckon the price; read nothing but counts."""
    from firelift.cli.run import prepare_environment
    from firelift.migration.check.readiness import check_both_sides
    from firelift.migration.check.readiness_text import check_text

    settings = session.load(given(options))
    prepare_environment(settings)
    found = check_both_sides(settings)
    show_result(found.report(), as_json, check_text(found))
    return DONE if found.ready else USAGE


@click.command(cls=OneLineCommand)
@click.argument("path")
@settings_options(
    only=[*SOURCE, *TARGET, "migration_id", "working_dir", "verbose"],
    meaning={"migration_id": "The run that published the table; by default the latest"},
)
@click.option(
    "--against",
    type=click.Choice(["archive", "firestore"]),
    help="Where to look for the document [default: the run's archive, else Firestore as of the run's snapshot]",
)
@json_option
@click.pass_obj
def show(session: Session, /, path: str, against: Against | None, as_json: bool, **options: Any) -> int:
    """Show a document beside its row, such as `firelift show users/alice`."""
    from firelift.cli.document_text import document_json, document_text
    from firelift.migration.published.one_document import show_document

    shown = show_document(session.load(given(options)), path, against)
    show_result(document_json(shown), as_json, document_text(shown))
    return DONE if shown.is_as_expected else UNVERIFIED
