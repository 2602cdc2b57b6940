#!/usr/bin/env bash
# Runs a command with ROS 2 and the node known to it.
set -e
source /ws/install/setup.bash
exec "$@"
