"""How the other modes differ from a full run."""
