"""Day and night drives to day-night pairs: where each frame was taken, and which belong together."""
