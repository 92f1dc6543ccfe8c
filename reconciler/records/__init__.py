"""The pure core: documents, records, modes, validation, the plan, cadence, status. No I/O, no clock."""
