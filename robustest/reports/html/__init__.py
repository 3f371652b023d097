"""HTML pages: of a run (`page`), and over several runs (`several`)."""
