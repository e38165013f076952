"""Settings of an exported page: `jupyter nbconvert --config notebooks/page.py --to html ...`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
c = get_config()  # noqa: F821 - Jupyter runs this file, and gives it this function
c.HTMLExporter.preprocessors = ["builder.pages.PublicPage"]
