"""Make the pictures of docs/looking.md: ``python docs/pictures/make.py [FOLDER]``.

They are those of the snippets on the page, which run in the tests. Needs matplotlib.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def main(folder: Path) -> list[str]:
    """Run the page's snippets, and take the pictures that they write."""
    import os

    import matplotlib

    matplotlib.use("Agg")
    page = (HERE.parent / "looking.md").read_text(encoding="utf-8")
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        try:
            names: dict[str, object] = {}
            for block in BLOCK.findall(page):
                exec(block, names)
            made = sorted(path.name for path in Path(place).iterdir())
            for name in made:
                shutil.copyfile(Path(place) / name, folder / name)
        finally:
            os.chdir(before)
    return made


if __name__ == "__main__":
    print(*main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE), sep="\n")
