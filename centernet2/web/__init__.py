"""A page in the browser: drop an image or a video, see what models find (``centernet2 web``)."""
