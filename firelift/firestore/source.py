"""Which Firestore database the settings name."""

from __future__ import annotations

from firelift.firestore.channel import Source, project_of
from firelift.firestore.errors import NoProject
from firelift.settings.settings import Settings


def source_of(settings: Settings) -> Source:
    """The Firestore database that the settings name; an emulator needs no credentials. Raises NoProject."""
    key_file = str(settings.firebase_service_account) if settings.firebase_service_account else None
    emulator = settings.firestore_emulator_host
    project = settings.project_id or (None if emulator else project_of(key_file))
    if project is None:
        raise NoProject()
    return Source(project, settings.firestore_database, None if emulator else key_file, emulator)


def source_label(settings: Settings) -> str:
    """The Firestore database, as it is told from every other one."""
    source = source_of(settings)
    return f"{source.name} of an emulator" if source.emulator_host else source.name
