"""``python -m vkd``, so that ``torchrun -m vkd`` and ``accelerate launch -m vkd`` work."""

import sys

from vkd.cli import main

if __name__ == "__main__":
    sys.exit(main())
