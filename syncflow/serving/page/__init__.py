"""The web page over a service: text to clip, video to audio, and what was made before."""

from syncflow.serving.page.layout import add_page

__all__ = ["add_page"]
