"""`python -m serann.annotator.cli`, for where the `serann` script is not on the path."""

from . import main

main()
