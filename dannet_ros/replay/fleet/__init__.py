"""Many bags: found, evaluated by workers of this machine or a cluster, kept, and summed up."""
