"""The controller: observe, plan, act, record; the heartbeat, the status and the control socket around it."""
