"""Turn `pip freeze` on standard input into constraints: direct and indirect versions, without local paths."""

import sys

# These no longer release for Python 3.10, which gets the newest that does.
NEED_311 = {
    "annotated-doc",
    "apsw",
    "contourpy",
    "fonttools",
    "httpcore2",
    "httpx2",
    "imageio",
    "matplotlib",
    "networkx",
    "numpy",
    "onnxruntime",
    "pillow",
    "regex",
    "scikit-image",
    "scipy",
    "tifffile",
    "transformers",
    "typer",
}
LINES = sorted(line.strip() for line in sys.stdin if "==" in line and "@" not in line)

print("# Versions that CI and the demo install; written by `make lock`.")
for line in LINES:
    name, version = line.split("==")
    marker = "; python_version >= '3.11'" if name.lower() in NEED_311 else ""
    print(f"{name}=={version.split('+')[0]}{marker}")
