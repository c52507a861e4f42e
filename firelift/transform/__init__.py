"""Document ⇄ row: the encoder and the decoder compiled from a table's plan, exact inverses of each other."""

from firelift.transform.decode import UnreadableRow, compile_decoder
from firelift.transform.encode import Rejected, compile_encoder

__all__ = ["Rejected", "UnreadableRow", "compile_decoder", "compile_encoder"]
