"""The engine at simulated time, and its reports. Data are read, never fetched; a backtest is never evidence."""
