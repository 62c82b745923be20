"""Whole models that people ship, from their files to something useful: ``python -m fastgru.recipes.NAME --help``.

=========  =================================================================
silero     the speech segments of a recording, and when it is speech
dtln       a recording with less noise
gtcrn      a recording with less noise
rnnoise    gains of 22 bands and voice activity from features of 10 ms frames
gait       the gait phase from a hip sensor
textgen    text that goes on from a prompt
g2p        the pronunciation of words
=========  =================================================================

Each has a function `load`, from the path of its weights to a `fastgru.Model`. Weights that are on PyPI are
downloaded by pip into ``$XDG_CACHE_HOME/fastgru`` unless a path is given.
"""
