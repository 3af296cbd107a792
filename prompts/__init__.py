"""Prompts: the questions listeners are asked and the panels they sit in, as files that can be read and replaced."""

from .loader import *  # noqa: F403 - what is public is listed once, in loader
from .loader import __all__ as __all__
