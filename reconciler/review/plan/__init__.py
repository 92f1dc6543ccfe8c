"""The plan as people and machines read it before a merge: what would start to trade, change, stop. Pure."""
