"""Picture and label files as they really are: where they end, how deep and how turned they are, which ids they hold."""
