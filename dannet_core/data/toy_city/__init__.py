"""The toy city: a procedural street by day and night with exact labels, on disk as real data sets are."""

from dannet_core.data.toy_city.trips import Trip
from dannet_core.data.toy_city.writing import DataSetCounts, DriveSummary, write_data_set, write_drive, write_trip

__all__ = ["DataSetCounts", "DriveSummary", "Trip", "write_data_set", "write_drive", "write_trip"]
