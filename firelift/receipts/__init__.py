"""What the phases hand on: small, frozen, JSON. Counts, names and places, never data."""

from firelift.receipts.extraction import Completeness, Extracted, RangeExtracted, Rewritten, TableChanges
from firelift.receipts.import_ import Imported, Loaded, RelationChecked, Staged
from firelift.receipts.publishing import AppConfigUpdated, Dropped, Finished, Published
from firelift.receipts.receipt import PhaseReceipt, Receipt, by_root, shared, tallied
from firelift.receipts.rollback import Action, ChangedTable, ExpiredBackup, Index, LeftIndex, Restored, RolledBack
from firelift.receipts.root_collections import RootCollection, RootGroup, Validated
from firelift.receipts.sampling import CollectionSampled, Sampled
from firelift.receipts.stopping import StopRequest
from firelift.receipts.transformation import ChunkTransformed, Planned, TableCounts, Transformed, TransformedAll, summed
from firelift.receipts.verification import Difference, FailedExpectation, RunVerified, TableCompared, Verified

__all__ = [
    "Action",
    "AppConfigUpdated",
    "ChangedTable",
    "ChunkTransformed",
    "CollectionSampled",
    "Completeness",
    "Difference",
    "Dropped",
    "ExpiredBackup",
    "Extracted",
    "FailedExpectation",
    "Finished",
    "Imported",
    "Index",
    "LeftIndex",
    "Loaded",
    "PhaseReceipt",
    "Planned",
    "Published",
    "RangeExtracted",
    "Receipt",
    "RelationChecked",
    "Restored",
    "Rewritten",
    "RolledBack",
    "RootCollection",
    "RootGroup",
    "RunVerified",
    "Sampled",
    "Staged",
    "StopRequest",
    "TableChanges",
    "TableCompared",
    "TableCounts",
    "Transformed",
    "TransformedAll",
    "Validated",
    "Verified",
    "by_root",
    "shared",
    "summed",
    "tallied",
]
