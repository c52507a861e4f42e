"""Document ⇄ row: the encoder and the decoder compiled from a table's plan, exact inverses of each other."""

from firelift.transform.decode import UnreadableRow, compile_decoder
from firelift.transform.encode import Rejected, compile_encoder, compile_parsed_encoder
from firelift.transform.encode_fields import ColumnEncoder

__all__ = ["ColumnEncoder", "Rejected", "UnreadableRow", "compile_decoder", "compile_encoder", "compile_parsed_encoder"]
