"""From a Graph to what the engine packs: values become buffers and views of them, ops become instructions.

`lower.lower` does it. Nothing is imported here, as a compiled plan needs the declarations of instructions alone.
"""
