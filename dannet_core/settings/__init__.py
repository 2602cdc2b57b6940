"""Settings of a command: one dataclass gives its options, its `--help`, its YAML keys and its checks.

Later wins: the dataclass's defaults, then a preset, then each `--config FILE.yaml`, then `--name value` (`--group.name
value` for a nested dataclass). Every mistake is a `SettingsError` that names the key. `--print-config` and
`--print-schema` show what would be in force, and what an editor needs to check a file.
"""

from dannet_core.settings.keys import option
from dannet_core.settings.parsing import parse, read_yaml, to_plain

__all__ = ["option", "parse", "read_yaml", "to_plain"]
