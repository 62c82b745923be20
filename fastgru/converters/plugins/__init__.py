"""Files that audio plugins play, to Graphs: RTNeural's and AIDA-X's JSON, Neural Amp Modeler's ``.nam``."""
