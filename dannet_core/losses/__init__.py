"""The losses of DANNet, equations 3 to 13: functions of plain tensors, and thin modules that hold their options."""
