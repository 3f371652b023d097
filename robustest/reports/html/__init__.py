"""HTML pages: of a run (`page`), over several runs (`index`), and of a history (`history`)."""
