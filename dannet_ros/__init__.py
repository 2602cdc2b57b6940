"""DANNet in ROS 2: the night segmentation node and bag replay."""
