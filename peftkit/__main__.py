"""``python -m peftkit`` and ``accelerate launch -m peftkit``."""

from peftkit.cli import main

if __name__ == "__main__":
    main()
