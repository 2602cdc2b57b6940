"""Bags: packing, reading and replaying them, without a ROS installation."""
