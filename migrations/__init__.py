"""One step per change of the ledger's tables, written out, so that an old step means for ever what it meant."""
