"""A Firestore database into PostgreSQL: the six phases in order, root collections side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from firelift.migration.check.read_budget import refuse_if_too_many_were_read, refuse_too_many_reads
from firelift.migration.context import Migration
from firelift.migration.execution import Steps
from firelift.migration.steps import extraction, import_, planning, post_migration, pre_validation, transformation, verification
from firelift.migration.steps.preload import preload
from firelift.receipts import Extracted, Loaded, Published, RootCollection, Transformed, TransformedAll, Validated


def migrate(migration: Migration, steps: Steps) -> dict[str, Any]:
    """Carries an open migration out, step by step, and returns its final report."""
    validated = steps.once(pre_validation.pre_validation)
    migration.status.set_read_time(validated.read_time)
    migration.mark_done_if_cached("pre_validation", validated, {})
    if not migration.settings.dry_run:
        steps.once(pre_validation.register, validated)
    preload(migration)
    validated, extracted = sample(steps, validated) if migration.is_test else (validated, extract(migration, steps, validated))
    migration.mark_done_if_cached("extraction", steps.once(extraction.extraction, extracted), counts_of(extracted))
    steps.once(planning.planning, extracted)
    roots = planning.roots_with_changes(migration, validated, extracted)
    parts = steps.each(transformation.transform, roots)
    transformed = steps.once(transformation.transformation, parts, extracted)
    migration.mark_done_if_cached("transformation", transformed, counts_of(parts))
    published = None if migration.settings.dry_run else load_verify_publish(migration, steps, validated, roots, parts, transformed)
    steps.once(post_migration.post_migration, published, transformed)
    return migration.reported


def extract(migration: Migration, steps: Steps, validated: Validated) -> list[Extracted]:
    """Everything, or an increment's difference, within what may be read."""
    refuse_too_many_reads(migration.settings, validated)
    extracted = steps.each(extraction.extract, validated.roots, read_time=validated.read_time)
    refuse_if_too_many_were_read(migration.settings, validated, extracted)
    return extracted


def sample(steps: Steps, validated: Validated) -> tuple[Validated, list[Extracted]]:
    """A sample in place of everything: what the other phases are to take for the snapshot, and its root collections."""
    sampled = steps.once(extraction.sampling, validated)
    return sampled.of(validated), list(sampled.parts)


def load_verify_publish(
    migration: Migration,
    steps: Steps,
    validated: Validated,
    roots: Sequence[RootCollection],
    parts: Sequence[Transformed],
    transformed: TransformedAll,
) -> Published:
    """What a dry run leaves out."""
    staged = steps.once(import_.staging, validated, transformed)
    if not staged.published:
        loaded = steps.each(import_.load, roots, parts, staged=staged)
        imported = steps.once(import_.import_, loaded, staged=staged)
        migration.mark_done_if_cached("import", imported, counts_of(loaded))
        if verification.nothing_to_verify(migration):
            steps.once(verification.skip_untouched)
        elif migration.verifies:
            steps.once(verification.verification, validated, transformed, imported)
        else:
            steps.once(verification.skip_verification)
    return steps.once(import_.publish, validated, transformed)


def counts_of(parts: Sequence[Extracted | Transformed | Loaded]) -> dict[str, dict[str, int]]:
    """By root collection, what a status counts of it."""
    return {name: counts for part in parts for name, counts in part.counts().items()}
