"""`python -m serann`, for where the `serann` script is not on the path."""

from .annotator.cli import main

if __name__ == "__main__":
    main()
